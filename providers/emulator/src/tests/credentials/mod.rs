//! Tokens from every endpoint that gives one, over loopback.
mod federation;
mod identity;
mod metadata;
mod oauth;
mod secrecy;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::harness::{Local, TOKEN};

const ACCOUNT: &str = "deployer@local.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CREDENTIALS: &str = "iamcredentials.googleapis.com";
const IAM: &str = "iam.googleapis.com";
const STS: &str = "sts.googleapis.com";
const OAUTH: &str = "oauth2.googleapis.com";

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// A request to a host of the cloud, as it comes through the proxy.
fn request(local: &Local, method: Method, host: &str, path: &str) -> RequestBuilder {
    let url = format!("{}{path}", local.running.addresses().google);
    local.client.request(method, url).header("host", host)
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a text");
    (status, serde_json::from_str(&text).unwrap_or_else(|_| json!(text)))
}

async fn post(local: &Local, host: &str, path: &str, token: &str, body: Value) -> (u16, Value) {
    answer(request(local, Method::POST, host, path).bearer_auth(token).json(&body)).await
}

async fn form(local: &Local, host: &str, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let kind = "application/x-www-form-urlencoded";
    answer(request(local, Method::POST, host, path).header("content-type", kind).body(body)).await
}

/// What `carrack emulator` asks for.
async fn console(local: &Local, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/credentials/{path}", local.running.addresses().console);
    answer(local.client.post(url).bearer_auth(TOKEN).json(&body)).await
}

async fn file(local: &Local, path: &str, body: Value) -> Value {
    let (status, answer) = console(local, path, body).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(answer["file"].as_str().expect("a file")).expect("JSON")
}

/// A token that the holder of a key file signs.
fn signed(key: &Value, claims: &Value) -> String {
    let pem = key["private_key"].as_str().expect("a key");
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).expect("base64")).expect("a key");
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key["private_key_id"] });
    let message = format!("{}.{}", encode(&header), encode(claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A token's claims, read without looking at its signature.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

/// With another signature.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}

fn refused(error: &str, description: &str) -> (u16, Value) {
    let status = if error == "invalid_client" { 401 } else { 400 };
    (status, json!({ "error": error, "error_description": description }))
}
