//! Requests on their way through a service's port.
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::harness::{Local, PARENT, TOKEN, public, template, url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_under_load_loses_no_request() {
    let local = Arc::new(Local::start());
    let service = local.deployed("hello").await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (local, stop, count) = (local.clone(), stop.clone(), count.clone());
            let url = format!("{}/echo", url(&service));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let body = format!("from {caller}");
                    let request = local.client.post(&url).body(body.clone());
                    let response = request.send().await.expect("an answer");
                    assert_eq!(response.status(), 200);
                    assert_eq!(response.text().await.expect("a text"), body);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..8 {
        let body = json!({ "template": template(&[&format!("round-{round}")]) });
        local.done(local.patch("hello", "?updateMask=template", body).await).await;
        let seen = count.load(Ordering::Relaxed);
        local.until(|| count.load(Ordering::Relaxed) > seen + 20).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no failed request");
    }
    local.until(|| local.containers() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_ends_on_the_revision_that_began_it() {
    let local = Arc::new(Local::start());
    let service = local.deployed("hello").await;
    let slow = {
        let (local, url) = (local.clone(), format!("{}/slow", url(&service)));
        tokio::spawn(async move { local.text(&url).await })
    };
    let mut waiting = local.runtime.waiting.subscribe();
    waiting.wait_for(|count| *count == 1).await.expect("reached");
    local.done(local.patch("hello", "?updateMask=template", json!({ "template": template(&["new"]) })).await).await;
    assert_eq!(local.containers(), 2);
    local.runtime.release.notify_waiters();
    assert_eq!(slow.await.expect("joined"), (200, "slow".to_owned()));
    local.until(|| local.containers() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_dies_is_started_again_by_the_next_request() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    let (status, _) = local.text(&format!("{}/die", url(&service))).await;
    assert_eq!(status, 503);
    assert_eq!(local.text(url(&service)).await.0, 200);
    assert_eq!(local.runtime.launched.lock().expect("a lock").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_waits_until_the_end_of_a_crashed_instance_is_known() {
    let local = Arc::new(Local::start());
    let operation = local.done(local.create("hello", public(&["lingering"])).await).await;
    let address = url(&operation["response"]).to_owned();
    assert_eq!(local.text(&format!("{address}/die")).await.0, 503);
    let refused = local.runtime.refused.subscribe();
    let before = *refused.borrow();
    let request = {
        let local = local.clone();
        tokio::spawn(async move { local.text(&address).await.0 })
    };
    local.until(|| request.is_finished() || *refused.borrow() > before + 10).await;
    local.runtime.gate.cancel();
    assert_eq!(request.await.expect("joined"), 200);
    assert_eq!(local.runtime.launched.lock().expect("a lock").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_goes_through() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    let address = url(&service).trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request =
        format!("GET /upgrade HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: counting\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a byte"));
    }
    let answer = String::from_utf8(answer).expect("text").to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: counting"), "{answer}");
    for byte in [1, 41] {
        stream.write_all(&[byte]).await.expect("written");
        assert_eq!(stream.read_u8().await.expect("a byte"), byte + 1);
    }
    // The open connection holds its instance, and not for longer than it lasts.
    local.done(local.patch("hello", "?updateMask=template", json!({ "template": template(&["new"]) })).await).await;
    assert_eq!(local.containers(), 2);
    stream.write_all(&[7]).await.expect("written");
    assert_eq!(stream.read_u8().await.expect("a byte"), 8);
    drop(stream);
    local.until(|| local.containers() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let parts =
        futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let request = local.client.post(format!("{}/echo", url(&service))).body(reqwest::Body::wrap_stream(parts));
    let response = tokio::spawn(request.send());
    sender.send(Ok(b"one".to_vec())).await.expect("sent");
    let mut answer = response.await.expect("joined").expect("an answer").bytes_stream();
    assert_eq!(answer.next().await.expect("a part").expect("bytes"), "one");
    sender.send(Ok(b"two".to_vec())).await.expect("sent");
    assert_eq!(answer.next().await.expect("a part").expect("bytes"), "two");
    drop(sender);
    assert!(answer.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_say_where_a_request_came_from() {
    let local = Local::start();
    let service = local.deployed("hello").await;
    let request = local.client.get(format!("{}/headers", url(&service))).header("x-forwarded-for", "9.9.9.9");
    let request = request.header("keep-alive", "5").bearer_auth(TOKEN);
    let text = request.send().await.expect("an answer").text().await.expect("a text");
    let host = url(&service).trim_start_matches("http://");
    for line in [
        "version: HTTP/1.1",
        &format!("host: {host}"),
        "x-forwarded-for: 9.9.9.9, 127.0.0.1",
        "x-forwarded-proto: http",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} in {text}");
    }
    assert!(text.contains("x-cloud-trace-context: "), "{text}");
    for absent in ["authorization", "keep-alive", TOKEN] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_named_h2c_gets_http_2() {
    let local = Local::start();
    let mut service = public(&[]);
    service["template"]["containers"][0]["ports"] = json!([{ "name": "h2c", "containerPort": 9000 }]);
    let operation = local.done(local.create("grpc", service).await).await;
    let address = format!("{}/headers", url(&operation["response"]));
    let (status, text) = local.text(&address).await;
    assert!(status == 200 && text.starts_with("version: HTTP/2.0"), "{status} {text}");
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let text = client.get(&address).send().await.expect("an answer").text().await.expect("a text");
    assert!(text.starts_with("version: HTTP/2.0"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_service_wants_a_token() {
    let local = Local::start();
    let operation = local.done(local.create("hello", json!({ "template": template(&[]) })).await).await;
    let address = url(&operation["response"]).to_owned();
    let (status, text) = local.text(&address).await;
    assert_eq!(status, 403);
    assert!(
        text.contains("Your client does not have permission to get URL <code>/</code> from this server."),
        "{text}"
    );
    let get = |token: &'static str| local.client.get(&address).bearer_auth(token).send();
    assert_eq!(get("wrong").await.expect("an answer").status(), 401);
    assert_eq!(get(TOKEN).await.expect("an answer").status(), 200);
    let policy = json!({ "policy": { "bindings": [{ "role": "roles/run.invoker", "members": ["allUsers"] }] } });
    let path = format!("{PARENT}/services/hello:setIamPolicy");
    assert_eq!(local.call(Method::POST, &path, Some(policy)).await.0, 200);
    assert_eq!(local.text(&address).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_its_time() {
    let local = Local::start();
    let mut service = public(&[]);
    service["template"]["timeout"] = json!("1s");
    let operation = local.done(local.create("hello", service).await).await;
    let (status, text) = local.text(&format!("{}/slow", url(&operation["response"]))).await;
    assert_eq!((status, text.as_str()), (504, "upstream request timeout"));
}
