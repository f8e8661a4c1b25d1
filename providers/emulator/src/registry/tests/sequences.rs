//! Any order of requests to uploads, against a model of what each must have.
use proptest::prelude::*;

use super::{Bench, Digest, NAME, refusals::run, uploads::start};

#[derive(Clone, Debug)]
enum Step {
    Start,
    Patch { to: usize, bytes: Vec<u8>, lie: Lie },
    Put { to: usize, bytes: Vec<u8>, lie: Lie },
    Ask { to: usize },
    Delete { to: usize },
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// No headers at all.
    Silent,
    /// The right range and length.
    None,
    Offset,
    Length,
    Digest,
}

fn step() -> impl Strategy<Value = Step> {
    let to = 0..4usize;
    let bytes = || prop::collection::vec(any::<u8>(), 1..40);
    let lie = || prop::sample::select(vec![Lie::Silent, Lie::Silent, Lie::None, Lie::Offset, Lie::Length, Lie::Digest]);
    prop_oneof![
        3 => Just(Step::Start),
        6 => (to.clone(), bytes(), lie()).prop_map(|(to, bytes, lie)| Step::Patch { to, bytes, lie }),
        3 => (to.clone(), bytes(), lie()).prop_map(|(to, bytes, lie)| Step::Put { to, bytes, lie }),
        2 => to.clone().prop_map(|to| Step::Ask { to }),
        1 => to.prop_map(|to| Step::Delete { to }),
        1 => Just(Step::Clear),
    ]
}

/// One upload: where it is, and its bytes while it is open.
struct Upload {
    location: String,
    bytes: Option<Vec<u8>>,
}

impl Upload {
    /// Sends `bytes` as PATCH or PUT, and says which status the answer must have.
    async fn send(&mut self, bench: &Bench, method: &str, bytes: &[u8], lie: Lie) -> (u16, u16) {
        let at = self.bytes.as_ref().map_or(0, Vec::len);
        let whole = [self.bytes.as_deref().unwrap_or_default(), bytes].concat();
        let start = if lie == Lie::Offset { at + 1 } else { at };
        let length = if lie == Lie::Length { bytes.len() + 1 } else { bytes.len() };
        let range = format!("{start}-{}", start + length - 1);
        let headers: &[(&str, &str)] =
            if matches!(lie, Lie::Silent | Lie::Digest) { &[] } else { &[("content-range", &range)] };
        let digest = if lie == Lie::Digest { Digest::of(b"a lie") } else { Digest::of(&whole) };
        let query = if method == "PUT" { format!("?digest={digest}") } else { String::new() };
        let answer = bench.ask_with(&format!("{method} {}{query}", self.location), headers, bytes.to_vec()).await;
        let expected = match (method, lie) {
            _ if self.bytes.is_none() => 404,
            (_, Lie::Offset) => 416,
            (_, Lie::Length) => 400,
            ("PUT", Lie::Digest) => {
                self.bytes = None;
                400
            }
            ("PUT", _) => {
                self.bytes = None;
                201
            }
            _ => {
                self.bytes = Some(whole.clone());
                202
            }
        };
        if expected == 201 {
            let stored = bench.ask(&format!("GET /v2/{NAME}/blobs/{digest}")).await;
            assert_eq!(stored.body, whole);
        }
        (answer.status.as_u16(), expected)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_requests_mixes_up_an_upload(steps in prop::collection::vec(step(), 1..30)) {
        run(async {
            let bench = Bench::new();
            let mut uploads: Vec<Upload> = Vec::new();
            for step in steps {
                let (status, expected) = match step.clone() {
                    Step::Start if uploads.len() < 4 => {
                        uploads.push(Upload { location: start(&bench).await, bytes: Some(Vec::new()) });
                        continue;
                    }
                    Step::Start => continue,
                    Step::Clear => {
                        bench.registry.clear().await.unwrap();
                        uploads.iter_mut().for_each(|upload| upload.bytes = None);
                        continue;
                    }
                    Step::Patch { to, .. } | Step::Put { to, .. } | Step::Ask { to } | Step::Delete { to }
                        if to >= uploads.len() => continue,
                    Step::Patch { to, bytes, lie } => uploads[to].send(&bench, "PATCH", &bytes, lie).await,
                    Step::Put { to, bytes, lie } => uploads[to].send(&bench, "PUT", &bytes, lie).await,
                    Step::Ask { to } => {
                        let answer = bench.ask(&format!("GET {}", uploads[to].location)).await;
                        if let Some(bytes) = &uploads[to].bytes {
                            assert_eq!(answer.header("range"), format!("0-{}", bytes.len().saturating_sub(1)));
                        }
                        (answer.status.as_u16(), if uploads[to].bytes.is_some() { 204 } else { 404 })
                    }
                    Step::Delete { to } => {
                        let answer = bench.ask(&format!("DELETE {}", uploads[to].location)).await;
                        (answer.status.as_u16(), if uploads[to].bytes.take().is_some() { 204 } else { 404 })
                    }
                };
                assert_eq!(status, expected, "{step:?}");
            }
            assert_eq!(bench.files("uploads"), uploads.iter().filter(|upload| upload.bytes.is_some()).count());
        });
    }
}
