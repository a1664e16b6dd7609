//! A proxy in front of a server that records what is said, and breaks connections in the ways networks and servers do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::dice::Dice;
use super::place::next_address;

/// Makes of a piece of the server's answers what the client gets.
pub type Rewrite = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// What the proxy does with what passes through it, from now on.
#[derive(Clone, Default)]
pub enum Fault {
    /// Nothing: it passes on.
    #[default]
    None,
    /// Passes on in pieces of random lengths, every other one after a random while up to this long.
    Delay(Duration),
    /// Half-open: accepts connections, passes nothing on, closes nothing. What was held goes on when the fault is another.
    Silence,
    /// Answers whatever the client says with these bytes; the server hears nothing.
    Speak(Vec<u8>),
    /// Passes on that many bytes of answers on each connection, then closes it.
    CloseAfter(usize),
    /// Passes on that many bytes of answers on each connection, then no more until the fault is another.
    StallAfter(usize),
    /// Puts these bytes in the place of each piece of the server's answers.
    Rewrite(Arc<Rewrite>),
    /// Closes each connection as soon as the client says something on it.
    Close,
}

/// What was said on one connection.
#[derive(Clone, Default, Debug)]
pub struct Recorded {
    /// By the client to the server.
    pub asked: Vec<u8>,
    /// To the client.
    pub answered: Vec<u8>,
}

/// Listens on a TCP port of its own. Ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    fault: watch::Sender<Fault>,
    records: Mutex<Vec<Arc<Mutex<Recorded>>>>,
    connections: Mutex<Vec<AbortHandle>>,
    opened: AtomicUsize,
    /// Connections before this one are forsaken.
    first_alive: AtomicUsize,
    dice: Dice,
}

impl Proxy {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = loop {
            if let Ok(listener) = TcpListener::bind(next_address()).await {
                break listener;
            }
        };
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            server,
            fault: watch::Sender::new(Fault::None),
            records: Mutex::default(),
            connections: Mutex::default(),
            opened: AtomicUsize::new(0),
            first_alive: AtomicUsize::new(0),
            dice: Dice::seeded(u64::from(address.port())),
        });
        let listening = tokio::spawn(Arc::clone(&shared).listen(listener));
        Proxy { address, shared, listening }
    }

    /// `host:port`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens on all connections, those that are open included.
    pub fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Leaves the connections that are open for dead: they pass nothing on any more, and nobody closes them. New ones work.
    pub fn forsake(&self) {
        self.shared.first_alive.store(self.opened(), Ordering::SeqCst);
        self.shared.fault.send_modify(|_| ());
    }

    /// Closes the connections that are open.
    pub fn cut(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// How many connections were opened so far.
    pub fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::SeqCst)
    }

    /// What was said on each connection so far.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.records.lock().unwrap().iter().map(|record| record.lock().unwrap().clone()).collect()
    }

    /// What clients said so far, one connection after the other.
    pub fn asked(&self) -> Vec<u8> {
        self.recorded().into_iter().flat_map(|record| record.asked).collect()
    }

    /// Forgets what was said.
    pub fn forget(&self) {
        for record in &*self.shared.records.lock().unwrap() {
            *record.lock().unwrap() = Recorded::default();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

impl Shared {
    async fn listen(self: Arc<Self>, listener: TcpListener) {
        while let Ok((client, _)) = listener.accept().await {
            let number = self.opened.fetch_add(1, Ordering::SeqCst);
            let record = Arc::new(Mutex::new(Recorded::default()));
            self.records.lock().unwrap().push(Arc::clone(&record));
            let connection = tokio::spawn(Arc::clone(&self).pass(number, client, record));
            self.connections.lock().unwrap().push(connection.abort_handle());
        }
    }

    /// One connection. Ends, and thereby closes both sides, when either direction ends.
    async fn pass(self: Arc<Self>, number: usize, client: TcpStream, record: Arc<Mutex<Recorded>>) {
        let Ok(server) = TcpStream::connect(self.server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let to_client = tokio::sync::Mutex::new(to_client);
        tokio::select! {
            () = self.pass_questions(number, from_client, to_server, &to_client, &record) => {}
            () = self.pass_answers(number, from_server, &to_client, &record) => {}
        }
    }

    async fn pass_questions(
        &self,
        number: usize,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        to_client: &tokio::sync::Mutex<OwnedWriteHalf>,
        record: &Mutex<Recorded>,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let fault = self.fault.borrow().clone();
            let Ok(count @ 1..) = from.read(self.piece(&fault, &mut buffer)).await else { return };
            let said = &buffer[..count];
            record.lock().unwrap().asked.extend_from_slice(said);
            match self.fault_after_silence(number).await {
                Fault::Close => return,
                Fault::Speak(words) => {
                    record.lock().unwrap().answered.extend_from_slice(&words);
                    if to_client.lock().await.write_all(&words).await.is_err() {
                        return;
                    }
                }
                fault => {
                    self.dawdle(&fault).await;
                    if to.write_all(said).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn pass_answers(
        &self,
        number: usize,
        mut from: OwnedReadHalf,
        to: &tokio::sync::Mutex<OwnedWriteHalf>,
        record: &Mutex<Recorded>,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        let mut passed = 0;
        loop {
            let fault = self.fault.borrow().clone();
            let Ok(count @ 1..) = from.read(self.piece(&fault, &mut buffer)).await else { return };
            let fault = self.fault_after_silence(number).await;
            let mut said = buffer[..count].to_vec();
            let mut held = Vec::new();
            let mut is_last = false;
            match &fault {
                Fault::Silence | Fault::Speak(_) | Fault::Close => continue,
                Fault::CloseAfter(limit) | Fault::StallAfter(limit) => {
                    held = said.split_off(limit.saturating_sub(passed).min(count));
                    is_last = passed + said.len() >= *limit && matches!(fault, Fault::CloseAfter(_));
                }
                Fault::Rewrite(rewrite) => said = rewrite(&said),
                Fault::None | Fault::Delay(_) => {}
            }
            self.dawdle(&fault).await;
            passed += said.len();
            record.lock().unwrap().answered.extend_from_slice(&said);
            let mut to = to.lock().await;
            if to.write_all(&said).await.is_err() {
                return;
            }
            if is_last {
                let _ = to.shutdown().await;
                return;
            }
            if !held.is_empty() {
                let mut faults = self.fault.subscribe();
                let _ = faults.wait_for(|fault| !matches!(fault, Fault::StallAfter(_))).await;
                passed += held.len();
                record.lock().unwrap().answered.extend_from_slice(&held);
                if to.write_all(&held).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What is to happen now: asked again when something was said, and when a silence is over.
    async fn fault_after_silence(&self, number: usize) -> Fault {
        let mut faults = self.fault.subscribe();
        let is_alive = || number >= self.first_alive.load(Ordering::SeqCst);
        let fault = faults.wait_for(|fault| is_alive() && !matches!(fault, Fault::Silence)).await;
        fault.map(|fault| fault.clone()).unwrap_or_default()
    }

    /// How much is read at once.
    fn piece<'a>(&self, fault: &Fault, buffer: &'a mut [u8]) -> &'a mut [u8] {
        let length = match fault {
            // Mostly short pieces, so that they end anywhere in an answer; some long ones, so that the work gets done.
            Fault::Delay(_) if self.dice.percent(50) => self.dice.within(1..200) as usize,
            _ => buffer.len(),
        };
        &mut buffer[..length]
    }

    async fn dawdle(&self, fault: &Fault) {
        if let Fault::Delay(longest) = fault
            && self.dice.percent(50)
        {
            let micros = self.dice.within(0..longest.as_micros() as u64 + 1);
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }
}
