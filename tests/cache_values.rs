//! The codec: what comes back, what lies in the store, and what is asked for as something it is not.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use larder::backend::{Memory, Stored, flags};
use larder::{Cache, Error};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What is stored of a value, after checking that it comes back.
async fn stored<V: Serialize + DeserializeOwned + PartialEq + Debug>(value: V) -> (Vec<u8>, u32) {
    let cache = Cache::memory();
    cache.set("k", &value, 30).await.unwrap();
    assert_eq!(cache.get::<V>("k").await.unwrap().as_ref(), Some(&value));
    let stored = cache.backend().get(&cache.make_key("k")).await.unwrap().unwrap();
    (stored.data.to_vec(), stored.flags)
}

async fn read<T: DeserializeOwned>(data: impl Into<bytes::Bytes>, flags: u32) -> Result<T, Error> {
    let cache = Cache::memory();
    cache.backend().set(":1:k", Stored { data: data.into(), flags }, None).await?;
    Ok(cache.get("k").await?.expect("a value or an error"))
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Newtype<T>(T);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Shape {
    Point,
    Circle(f64),
    Rectangle { width: u32, height: u32 },
}

#[tokio::test]
async fn integers_are_decimal_text() {
    assert_eq!(stored(-42_i32).await, (b"-42".to_vec(), flags::INTEGER));
    assert_eq!(stored(u8::MAX).await, (b"255".to_vec(), flags::INTEGER));
    assert_eq!(stored(u64::MAX).await, (u64::MAX.to_string().into_bytes(), flags::INTEGER));
    assert_eq!(stored(i128::MIN).await, (i128::MIN.to_string().into_bytes(), flags::INTEGER));
    assert_eq!(stored(u128::MAX).await, (u128::MAX.to_string().into_bytes(), flags::INTEGER));
    assert_eq!(stored(Some(7_usize)).await, (b"7".to_vec(), flags::INTEGER));
    assert_eq!(stored(Newtype(7_i16)).await, (b"7".to_vec(), flags::INTEGER));
}

#[tokio::test]
async fn text_and_bytes_are_themselves() {
    assert_eq!(stored("Iñtërnâtiônàlizætiøn".to_owned()).await, ("Iñtërnâtiônàlizætiøn".into(), flags::TEXT));
    assert_eq!(stored(String::new()).await, (Vec::new(), flags::TEXT));
    assert_eq!(stored('é').await, ("é".into(), flags::TEXT));
    assert_eq!(stored(Some(Newtype("x".to_owned()))).await, (b"x".to_vec(), flags::TEXT));
    assert_eq!(stored(vec![0_u8, 255, 13, 10]).await, (vec![0, 255, 13, 10], flags::BYTES));
    assert_eq!(stored([1_u8, 2, 3]).await, (vec![1, 2, 3], flags::BYTES));
    assert_eq!(stored((1_u8, 2_u8)).await, (vec![1, 2], flags::BYTES));
    assert_eq!(stored(bytes::Bytes::from_static(b"raw").to_vec()).await, (b"raw".to_vec(), flags::BYTES));
}

#[tokio::test]
async fn everything_else_is_message_pack() {
    assert_eq!(stored(true).await.1, flags::SERDE);
    assert_eq!(stored(1.5_f64).await.1, flags::SERDE);
    assert_eq!(stored(f32::INFINITY).await.1, flags::SERDE);
    assert_eq!(stored(()).await.1, flags::SERDE);
    assert_eq!(stored(None::<String>).await.1, flags::SERDE);
    assert_eq!(stored(Vec::<u8>::new()).await.1, flags::SERDE);
    assert_eq!(stored(vec![1_u8, 2].into_iter().map(Newtype).collect::<Vec<_>>()).await.1, flags::SERDE);
    assert_eq!(stored(vec![1_u16, 2]).await.1, flags::SERDE);
    assert_eq!(stored(vec![Some(1_u8), None]).await.1, flags::SERDE);
    assert_eq!(stored((1_u8, "mixed".to_owned())).await.1, flags::SERDE);
    assert_eq!(stored(BTreeMap::from([((1, 'a'), i128::MAX), ((2, 'b'), i128::MIN)])).await.1, flags::SERDE);
    assert_eq!(stored("127.0.0.1".parse::<IpAddr>().unwrap()).await.1, flags::SERDE);
    for shape in [Shape::Point, Shape::Circle(0.1), Shape::Rectangle { width: 1, height: 2 }] {
        assert_eq!(stored(shape).await.1, flags::SERDE);
    }
}

#[tokio::test]
async fn not_a_number_survives() {
    let cache = Cache::memory();
    cache.set("k", f64::NAN, 30).await.unwrap();
    assert!(cache.get::<f64>("k").await.unwrap().unwrap().is_nan());
}

#[tokio::test]
async fn a_stored_none_is_a_value() {
    let cache = Cache::memory();
    cache.set("k", None::<u32>, 30).await.unwrap();
    assert_eq!(cache.get::<Option<u32>>("k").await.unwrap(), Some(None));
    assert!(cache.contains("k").await.unwrap());
    assert_eq!(cache.get_many::<Option<u32>>(["k"]).await.unwrap()["k"], None);
}

#[tokio::test]
async fn structs_read_back_after_a_field_was_added() {
    #[derive(Serialize)]
    struct Old {
        name: &'static str,
        gone: u8,
    }
    #[derive(Deserialize, PartialEq, Debug)]
    struct New {
        #[serde(default)]
        email: Option<String>,
        name: String,
    }
    let cache = Cache::memory();
    cache.set("k", Old { name: "Ada", gone: 1 }, 30).await.unwrap();
    assert_eq!(cache.get::<New>("k").await.unwrap(), Some(New { email: None, name: "Ada".into() }));
}

#[tokio::test]
async fn the_wrong_type_is_an_error_that_names_the_key_and_leaves_the_value() {
    let cache = Cache::memory();
    cache.set("text", "abc", 30).await.unwrap();
    cache.set("number", 300, 30).await.unwrap();
    let errors = [
        cache.get::<u32>("text").await.unwrap_err(),
        cache.get::<Vec<u8>>("text").await.unwrap_err(),
        cache.get::<Shape>("text").await.unwrap_err(),
        cache.get::<String>("number").await.unwrap_err(),
        cache.get::<u8>("number").await.unwrap_err(),
        cache.get::<bool>("number").await.unwrap_err(),
        cache.get::<BTreeMap<String, u8>>("number").await.unwrap_err(),
        cache.get_many::<u8>(["number"]).await.unwrap_err(),
        cache.get_or_set::<u8, _, _>("number", 30, || async { 1 }).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::Decode { key, .. } if key == "text" || key == "number"), "{error}");
    }
    assert_eq!(cache.get::<i32>("number").await.unwrap(), Some(300));
}

#[tokio::test]
async fn what_other_clients_write_can_be_read() {
    assert_eq!(read::<i64>("41  ", flags::INTEGER).await.unwrap(), 41);
    assert_eq!(read::<f64>("41", flags::INTEGER).await.unwrap(), 41.0);
    assert_eq!(read::<String>("text of a client without flags", flags::BYTES).await.unwrap().len(), 30);
    assert_eq!(read::<Shape>("Point", flags::TEXT).await.unwrap(), Shape::Point);
}

#[tokio::test]
async fn damaged_and_foreign_bytes_are_errors() {
    for (data, flags) in [
        (&b"12x"[..], flags::INTEGER),
        (b"", flags::INTEGER),
        (b"\xff", flags::INTEGER),
        (b"99999999999999999999999999999999999999999", flags::INTEGER),
        (b"\xff", flags::TEXT),
        (b"\xff", flags::BYTES),
        (b"", flags::SERDE),
        (b"\xa3ab", flags::SERDE),
        (b"\xa1ab", flags::SERDE),
        (b"\xdd\xff\xff\xff\xff", flags::SERDE),
        (b"\x80\x04K\x01.", 1),
        (b"page", flags::PAGE),
        (b"x", u32::MAX),
    ] {
        for error in [
            read::<String>(data, flags).await.map(drop),
            read::<i64>(data, flags).await.map(drop),
            read::<Vec<Shape>>(data, flags).await.map(drop),
            read::<(u8, u8, u8)>(data, flags).await.map(drop),
        ] {
            assert!(matches!(error, Err(Error::Decode { .. })), "{data:?} {flags}: {error:?}");
        }
    }
    // As deep as it is long: refused, without a stack overflow.
    assert!(read::<serde_json::Value>(vec![0x91; 1 << 20], flags::SERDE).await.is_err());
}

#[tokio::test]
async fn what_serde_refuses_is_an_error_and_nothing_is_stored() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not this one"))
        }
    }
    let memory = Memory::new();
    let cache = Cache::new(memory.clone());
    let error = cache.set("k", Refuses, 30).await.unwrap_err();
    assert_eq!(error.to_string(), "the value for the key \"k\" cannot be stored: not this one");
    assert!(matches!(cache.add("k", vec![Refuses], 30).await, Err(Error::Encode { .. })));
    assert!(matches!(cache.set_many([("a", Refuses)], 30).await, Err(Error::Encode { .. })));
    assert_eq!(memory.entries(), 0);
}

proptest! {
    #[test]
    fn any_value_comes_back(
        bytes: Vec<u8>, number: i128, unsigned: u128, text: String, list: Vec<Option<i64>>, float: f64, character: char,
        map: BTreeMap<i64, (String, Vec<u8>, u128)>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            stored(bytes).await;
            stored(number).await;
            stored(unsigned).await;
            stored(text).await;
            stored(list).await;
            stored(character).await;
            stored(map).await;
            if !float.is_nan() {
                stored(float).await;
            }
        });
    }

    #[test]
    fn no_bytes_panic(data: Vec<u8>, flags in prop_oneof![Just(0u32), Just(2), Just(16), Just(32), any::<u32>()]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let _ = read::<BTreeMap<String, Vec<Shape>>>(data.clone(), flags).await;
            let _ = read::<(i8, Option<String>, u128)>(data.clone(), flags).await;
            let _ = read::<serde_json::Value>(data, flags).await;
        });
    }
}
