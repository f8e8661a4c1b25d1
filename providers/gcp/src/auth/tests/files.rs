use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use super::{
    server::{Answer, Server, client, no, ok},
    *,
};

/// The claims of a token that the key of this run signed.
fn verified(jwt: &str) -> Value {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key().public_key().as_ref());
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("a good signature");
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    assert_eq!(read(header), json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    read(claims)
}

#[tokio::test]
async fn a_key_signs_what_is_exchanged_where_its_file_says() {
    let server = Server::start(|asked| {
        let claims = verified(&asked.form("assertion"));
        match claims["target_audience"].as_str() {
            Some(audience) => ok(json!({ "id_token": unsigned(&json!({ "aud": audience, "exp": 5 })) })),
            None => ok(json!({ "access_token": "ya29.a", "expires_in": 3599, "token_type": "Bearer" })),
        }
    });
    let folder = Folder::new("key");
    let uri = server.url("/token");
    let file = folder.write("key.json", key_file(&uri));
    let (token, cache) = token(with(&[("GOOGLE_APPLICATION_CREDENTIALS", &file)]), client(None)).await;
    let token = token.unwrap();
    assert_eq!(token.value(), "ya29.a");
    let life = Timestamp::now().duration_until(token.expires().unwrap());
    assert!(life > SignedDuration::from_mins(55) && life < SignedDuration::from_mins(60), "{life}");

    let asked = server.asked();
    assert_eq!(asked[0].what, format!("POST {} /token", server.host()));
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(asked[0].form("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let claims = verified(&asked[0].form("assertion"));
    assert_eq!(claims["aud"], uri.as_str());
    assert_eq!(claims["iss"], "deploy@shop.iam.gserviceaccount.com");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);

    let cx = Ctx::silent();
    let id = cache.id_token(&cx, "https://shop.run.app").await.unwrap();
    assert!(verified(&server.asked()[1].form("assertion"))["scope"].is_null());
    assert_eq!((id.value().starts_with("e30."), id.expires()), (true, Timestamp::from_second(5).ok()));

    let identity = cache.identity(&cx).await.unwrap();
    assert_eq!(identity.principal.as_deref(), Some("deploy@shop.iam.gserviceaccount.com"));
    assert_eq!((identity.kind, identity.project.as_deref()), ("service account key", Some("shop")));
    assert_eq!(identity.from, format!("`{file}` (GOOGLE_APPLICATION_CREDENTIALS)"));
    assert_eq!(cache.principal(), Some("deploy@shop.iam.gserviceaccount.com"));
    assert!(!format!("{cache:?}").contains("PRIVATE"), "{cache:?}");
}

#[tokio::test]
async fn the_other_variable_takes_a_file_and_what_would_be_in_it() {
    let server = Server::start(|_| ok(json!({ "access_token": "t", "expires_in": 10 })));
    let folder = Folder::new("other-variable");
    let text = key_file(&server.url("/token")).to_string();
    let file = folder.write("key.json", &text);
    for (value, from) in [
        (&text, "the variable GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON".to_owned()),
        (&file, format!("`{file}` (GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON)")),
    ] {
        let (token, cache) = token(with(&[("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON", value)]), client(None)).await;
        assert_eq!(token.unwrap().value(), "t");
        assert_eq!(cache.identity(&Ctx::silent()).await.unwrap().from, from);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told_by_its_field() {
    let folder = Folder::new("malformed");
    let uri = "https://oauth2.googleapis.com/token";
    let key = |field: &str, value: Value| {
        let mut file = key_file(uri);
        file[field] = value;
        file.to_string()
    };
    let federated = |source: Value| {
        json!({
            "type": "external_account", "audience": "//a", "subject_token_type": "jwt", "token_url": uri,
            "credential_source": source,
        })
        .to_string()
    };
    let impersonated = |url: &str| {
        json!({
            "type": "impersonated_service_account", "service_account_impersonation_url": url,
            "source_credentials": user_file(uri),
        })
        .to_string()
    };
    let cases = [
        ("{\"type\":\n \"serv".to_owned(), "is not JSON: line 2, column 6"),
        ("{}".to_owned(), "is no credentials file: `type` is missing"),
        (json!({ "installed": {} }).to_string(), "is an OAuth client, which is nobody's credentials"),
        (
            json!({ "type": "gdch_service_account" }).to_string(),
            "is of type `gdch_service_account`, which is not taken here",
        ),
        (json!({ "type": "PRIVATE KEY-----\nM" }).to_string(), "is of no known type"),
        (key("private_key", Value::Null), "is no valid service account file: `private_key` is missing"),
        (key("client_email", json!(" ")), "is no valid service account file: `client_email` is empty"),
        (key("client_email", json!(1)), "is no valid service account file: `client_email` is no text"),
        (key("private_key", json!("secret")), "`private_key` is no RSA key in PEM (`-----BEGIN PRIVATE KEY-----`)"),
        (key("private_key", json!(pem().replace('\n', "\\n"))), "`private_key` is no RSA key in PEM"),
        (
            key("private_key", json!("-----BEGIN PRIVATE KEY-----\nMAo=\n-----END PRIVATE KEY-----")),
            "is no RSA key in PEM",
        ),
        (
            key("token_uri", json!("http://oauth2.googleapis.com/token")),
            "`token_uri` is neither https nor on this machine",
        ),
        (json!({ "type": "authorized_user", "client_id": "c" }).to_string(), "`client_secret` is missing"),
        (federated(json!({})), "`credential_source` has neither `file` nor `url`, or both"),
        (
            federated(json!({ "executable": {} })),
            "comes from a program that is run (`credential_source.executable`), which is not taken",
        ),
        (
            federated(json!({ "environment_id": "aws1" })),
            "comes from AWS (`credential_source.environment_id`), which is not taken",
        ),
        (
            federated(json!({ "url": "http://evil.example/" })),
            "`credential_source.url` is neither https nor on this machine",
        ),
        (
            federated(json!({ "file": "f", "format": { "type": "json" } })),
            "`credential_source.format.subject_token_field_name` is missing",
        ),
        (impersonated("https://iamcredentials.googleapis.com/v1/x"), "does not end with `/EMAIL:generateAccessToken`"),
        (impersonated("http://evil.example/e@b.c:generateAccessToken"), "is neither https nor on this machine"),
    ];
    for (text, expected) in cases {
        let file = folder.write("credentials.json", &text);
        // A server that is asked would answer.
        let server = Server::start(|_| ok(json!({ "access_token": "t", "expires_in": 10 })));
        let (error, shown) = refused(with(&[("GOOGLE_APPLICATION_CREDENTIALS", &file)]), server.client()).await;
        assert!(error.to_string().contains(expected), "{expected}:\n{shown}");
        assert!(error.to_string().contains(&file), "{shown}");
        assert_eq!((error.kind().exit_code(), server.asked().len()), (20, 0), "{shown}");
    }
    let (error, _) = refused(with(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")]), client(None)).await;
    assert_eq!(
        error.to_string(),
        "the credentials in `/nowhere/key.json` (GOOGLE_APPLICATION_CREDENTIALS) cannot be read"
    );
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_by_the_servers() {
    let server = Server::start(|_| {
        let date = Timestamp::now() - SignedDuration::from_mins(90);
        let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        let text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";
        Answer(400, vec![("date", date)], json!({ "error": "invalid_grant", "error_description": text }).to_string())
    });
    let text = key_file(&server.url("/token")).to_string();
    let (_, shown) = refused(with(&[("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON", &text)]), client(None)).await;
    let shown = shown.replace(server.host(), "SERVER");
    insta::assert_snapshot!(shown, @r"
    20 SERVER refuses the credentials: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim (invalid_grant)
    because: they are the key of deploy@shop.iam.gserviceaccount.com from the variable GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON
    hint: this machine's clock is 1 h 30 min ahead of the server's: set it (`date -u` shows it)
    hint: see whether the key still exists (`gcloud iam service-accounts keys list --iam-account=deploy@shop.iam.gserviceaccount.com`), or make another: `gcloud iam service-accounts keys create key.json --iam-account=deploy@shop.iam.gserviceaccount.com`
    ");
    assert_eq!(server.asked().len(), 1, "a refusal is not tried again");
}

#[tokio::test]
async fn a_user_is_named_with_the_first_token_and_told_how_to_log_in_again() {
    let server = Server::start(|asked| match asked.form("refresh_token").as_str() {
        "refresh-token" => {
            let id = unsigned(&json!({ "email": "me@example.com", "exp": 7 }));
            ok(json!({ "access_token": "t", "expires_in": 3599, "id_token": id }))
        }
        _ => no(400, json!({ "error": "invalid_grant", "error_description": "Token has been expired or revoked." })),
    });
    let folder = Folder::new("user");
    let home = folder.0.to_str().unwrap().to_owned();
    let file = folder.write(".config/gcloud/application_default_credentials.json", user_file(&server.url("/token")));
    let (token, cache) = token(with(&[("HOME", &home)]), client(None)).await;
    assert_eq!(token.unwrap().value(), "t");
    let asked = server.asked().remove(0);
    assert_eq!((asked.form("client_id"), asked.form("client_secret")), ("c".into(), "client-secret".into()));
    assert_eq!(cache.principal(), Some("me@example.com"));
    let identity = cache.identity(&Ctx::silent()).await.unwrap();
    assert_eq!((identity.kind, identity.project.as_deref()), ("user's login", Some("shop")));
    assert_eq!(cache.id_token(&Ctx::silent(), "any").await.unwrap().expires(), Timestamp::from_second(7).ok());

    let mut revoked = user_file(&server.url("/token"));
    revoked["refresh_token"] = json!("old");
    folder.write(".config/gcloud/application_default_credentials.json", revoked);
    let (_, shown) = refused(with(&[("HOME", &home)]), client(None)).await;
    insta::assert_snapshot!(shown.replace(server.host(), "SERVER").replace(&file, "FILE"), @r"
    20 SERVER refuses the credentials: Token has been expired or revoked (invalid_grant)
    because: they are the login from `FILE` (application default credentials)
    hint: log in again: `gcloud auth application-default login`
    ");
}

#[tokio::test]
async fn a_token_service_that_is_down_is_asked_as_often_as_may_be_and_no_oftener() {
    let server = Server::start(|_| no(503, "busy"));
    let text = key_file(&server.url("/token")).to_string();
    let http = client(None);
    let cache = choose(with(&[("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON", &text)]), http.clone());
    let request = carrack_http::Request::new(reqwest::Method::GET, server.url("/never")).bearer(&cache);
    let error = http.send(&Ctx::silent(), request).await.expect_err("no token");
    assert_eq!(error.kind().exit_code(), 41);
    assert_eq!(server.asked().len(), 3);
    // Nobody listens there.
    let gone = key_file("http://127.0.0.1:1/token").to_string();
    let (error, _) = refused(with(&[("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON", &gone)]), client(None)).await;
    assert_eq!((error.kind().exit_code(), error.to_string().as_str()), (41, "no connection to 127.0.0.1"));
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_shown() {
    let server = Server::start(|_| ok(json!({ "access_token": 5, "note": "refresh-token" })));
    let text = user_file(&server.url("/token")).to_string();
    let (error, shown) = refused(with(&[("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON", &text)]), client(None)).await;
    assert!(error.to_string().ends_with("/token answered with something unexpected"), "{shown}");
    assert_eq!(error.kind().exit_code(), 41);
}

#[tokio::test]
async fn an_access_token_that_cannot_be_one_is_refused_by_every_way() {
    let answers = [
        (json!({ "access_token": "t", "expires_in": u64::MAX }), "would be good for 18446744073709551615 seconds"),
        (json!({ "access_token": "t", "expires_in": 9_000_000_000_000_000_u64 }), "would be good for 9000000000000000"),
        (json!({ "access_token": "", "expires_in": 3600 }), "is empty"),
        (json!({ "access_token": "secret-\nvalue", "expires_in": 3600 }), "has characters that no token has"),
    ];
    for (answer, expected) in answers {
        let server = Server::start(move |asked| match asked.what.ends_with("/email") {
            true => Answer(200, vec![("metadata-flavor", "Google".into())], "vm@shop.iam.gserviceaccount.com".into()),
            false => ok(&answer),
        });
        let (key, user) = (key_file(&server.url("/token")).to_string(), user_file(&server.url("/token")).to_string());
        const KEY: &str = "GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON";
        let machine = [("GCE_METADATA_HOST", server.host()), ("NO_GCE_CHECK", "false")];
        for surroundings in [with(&[(KEY, &key)]), with(&[(KEY, &user)]), with(&machine)] {
            let (error, shown) = refused(surroundings, client(None)).await;
            assert_eq!(error.kind().exit_code(), 41, "{shown}");
            assert!(shown.contains(expected) && !shown.contains("secret-"), "{shown}");
        }
    }
}

/// The three variables that lead to a file: each way with its own.
#[cfg(unix)]
fn by_file(folder: &Folder, path: &str) -> [Surroundings; 3] {
    let federation = json!({
        "type": "external_account", "audience": "a", "subject_token_type": "t",
        "token_url": "http://127.0.0.1:9/token", "credential_source": { "file": path },
    });
    const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    let federation = folder.write("federation.json", federation);
    [with(&[(FILE, path)]), with(&[(FILE, &federation)]), with(&[("CARRACK_ACCESS_TOKEN_FILE", path)])]
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_has_no_end_or_is_none_is_not_read() {
    let folder = Folder::new("endless");
    let large = folder.write("large", "a".repeat((1 << 20) + 1));
    for (path, why) in [
        ("/dev/zero", "it is no regular file"),
        (folder.0.to_str().unwrap(), "it is no regular file"),
        (&large, "it is larger than 1 MiB"),
    ] {
        for surroundings in by_file(&folder, path) {
            let (error, shown) = refused(surroundings, client(None)).await;
            assert_eq!(error.kind().exit_code(), 20, "{shown}");
            assert!(shown.contains("cannot be read") && shown.contains(why), "{shown}");
        }
    }
}

#[cfg(unix)]
fn pipe(folder: &Folder, name: &str) -> String {
    let pipe = folder.0.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    pipe.to_str().unwrap().to_owned()
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_read() {
    let folder = Folder::new("pipe");
    let path = pipe(&folder, "pipe");
    let write = path.clone();
    let writing = tokio::task::spawn_blocking(move || std::fs::write(write, "from-pipe\n"));
    let (token, _) = token(with(&[("CARRACK_ACCESS_TOKEN_FILE", &path)]), client(None)).await;
    assert_eq!(token.unwrap().value(), "from-pipe");
    writing.await.unwrap().unwrap();
}

/// Nobody ever writes: the threads that read are left behind, so the runtime may not wait for them.
#[cfg(unix)]
#[test]
fn a_pipe_is_waited_for_no_longer_than_may_be() {
    let folder = Folder::new("waiting");
    let path = pipe(&folder, "pipe");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for surroundings in by_file(&folder, &path) {
            let soon = tokio::time::Instant::now() + std::time::Duration::from_millis(100);
            let cx = Ctx { deadline: Some(soon), ..Ctx::silent() };
            let error = choose(surroundings.clone(), client(None)).token(&cx).await.unwrap_err();
            assert_eq!(error.kind().exit_code(), 42, "{error}");
            let cx = Ctx::silent();
            let cache = choose(surroundings, client(None));
            let interrupt = async {
                carrack_core::poll::pause_between(&cx, std::time::Duration::from_millis(100)).await.unwrap();
                cx.cancel.cancel();
            };
            let error = tokio::join!(cache.token(&cx), interrupt).0.unwrap_err();
            assert_eq!(error.kind().exit_code(), 130, "{error}");
        }
    });
    runtime.shutdown_background();
}
