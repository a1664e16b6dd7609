//! libmemcached's circle of points: a key belongs to the server of the first point at or behind its hash.
//! The arithmetic, the names of the points and the rule for ties are libmemcached's.

use super::Node;
use super::key_hash::{KeyHash, md5_words};

const POINTS: u32 = 100;
const WEIGHTED_POINTS: u32 = 160;
/// An MD5 digest is cut into so many points.
const POINTS_OF_A_DIGEST: u32 = 4;
/// Points of servers on it are named by the host alone.
const DEFAULT_PORT: u16 = 11211;

#[derive(Clone, Debug)]
pub(super) struct Continuum {
    key_hash: KeyHash,
    points: Vec<Point>,
    servers: usize,
}

/// Ordered by place, and two points at one place by the order of their servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    place: u32,
    server: usize,
}

impl Continuum {
    /// 100 points for every server, hashed as keys are.
    pub(super) fn even(key_hash: KeyHash, nodes: &[Node]) -> Self {
        let points = nodes.iter().enumerate().flat_map(|(server, node)| {
            (0..POINTS).map(move |number| Point { place: key_hash.of(point_name(node, number).as_bytes()), server })
        });
        Continuum::of(key_hash, points.collect(), nodes.len())
    }

    /// Points by weight, 160 a server where all weigh the same, four of each MD5 digest.
    pub(super) fn weighted(key_hash: KeyHash, nodes: &[Node]) -> Self {
        let total: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
        let points = nodes.iter().enumerate().flat_map(|(server, node)| {
            (0..digests(node.weight, total, nodes.len())).flat_map(move |number| {
                md5_words(point_name(node, number).as_bytes()).map(|place| Point { place, server })
            })
        });
        Continuum::of(key_hash, points.collect(), nodes.len())
    }

    fn of(key_hash: KeyHash, mut points: Vec<Point>, servers: usize) -> Self {
        points.sort_unstable();
        Continuum { key_hash, points, servers }
    }

    pub(super) fn server_of(&self, key: &[u8]) -> usize {
        self.points_behind(key).next().map_or(0, |point| point.server)
    }

    /// The server of the next point whose server is up.
    pub(super) fn server_among(&self, key: &[u8], is_up: impl Fn(usize) -> bool) -> Option<usize> {
        let next = self.points_behind(key).find(|point| is_up(point.server)).map(|point| point.server);
        // A server may weigh so little that it has no point.
        next.or_else(|| (0..self.servers).find(|server| is_up(*server)))
    }

    /// Once around the circle, from the key on.
    fn points_behind(&self, key: &[u8]) -> impl Iterator<Item = &Point> {
        let hash = self.key_hash.of(key);
        let first = self.points.partition_point(|point| point.place < hash);
        let (before, after) = self.points.split_at(first);
        after.iter().chain(before)
    }
}

fn point_name(node: &Node, number: u32) -> String {
    match node.port {
        Some(DEFAULT_PORT) => format!("{}-{number}", node.host),
        port => format!("{}:{}-{number}", node.host, port.unwrap_or(0)),
    }
}

/// How many digests a server gets. libmemcached computes it in single precision, which decides where weights divide
/// badly; the addend in front of `floor` is lost in the rounding there too.
fn digests(weight: u32, total: u64, servers: usize) -> u32 {
    let share = weight as f32 / total as f32;
    let points = WEIGHTED_POINTS as f32;
    (share * points / POINTS_OF_A_DIGEST as f32 * servers as f32 + 1e-10).floor() as u32
}
