use super::{
    server::{Answer, Server, client, ok},
    *,
};

#[tokio::test]
async fn the_first_way_that_is_there_is_taken() {
    let server = Server::start(|asked| match asked.what.split('/').next_back().unwrap() {
        "email" => Answer(200, vec![("metadata-flavor", "Google".into())], "vm@shop.iam.gserviceaccount.com".into()),
        "token" => ok(json!({ "access_token": format!("of {}", asked.what), "expires_in": 100 })),
        _ => ok(json!({})),
    });
    let folder = Folder::new("order");
    let (key, user) = (key_file(&server.url("/key/token")), user_file(&server.url("/user/token")));
    let (key_path, home) = (folder.write("key.json", &key), folder.0.to_str().unwrap().to_owned());
    folder.write(".config/gcloud/application_default_credentials.json", &user);
    let (host, key, user) = (server.host(), key.to_string(), user.to_string());
    let token_file = folder.write("token", "from-file\n");
    // The strongest first: each is taken as long as none before it is there.
    let ways = [
        ("CARRACK_ACCESS_TOKEN", "explicit", "explicit".to_owned()),
        ("CARRACK_ACCESS_TOKEN_FILE", &token_file, "from-file".to_owned()),
        ("GOOGLE_OAUTH_ACCESS_TOKEN", "terraform", "terraform".to_owned()),
        ("GOOGLE_APPLICATION_CREDENTIALS", &key_path, format!("of POST {host} /key/token")),
        ("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON", &user, format!("of POST {host} /user/token")),
        ("HOME", &home, format!("of POST {host} /user/token")),
        (
            "GCE_METADATA_HOST",
            host,
            format!("of GET {host} /computeMetadata/v1/instance/service-accounts/default/token"),
        ),
    ];
    for first in 0..ways.len() {
        let mut all: Vec<_> = ways[first..].iter().map(|(name, value, _)| (*name, *value)).collect();
        all.push(("NO_GCE_CHECK", "false"));
        let (token, _) = token(with(&all), client(None)).await;
        assert_eq!(token.unwrap().value(), ways[first].2, "{}", ways[first].0);
    }
    assert!(!key.is_empty());
}

#[tokio::test]
async fn a_machine_of_googles_says_who_it_is() {
    let server = Server::start(|asked| {
        assert_eq!(asked.header("metadata-flavor"), "Google");
        let google = vec![("metadata-flavor", "Google".to_owned())];
        let body = match asked.what.split("/v1/").nth(1).unwrap() {
            "instance/service-accounts/default/email" => "vm@shop.iam.gserviceaccount.com\n".to_owned(),
            "instance/service-accounts/default/token" => json!({ "access_token": "t", "expires_in": 9 }).to_string(),
            "instance/service-accounts/default/identity" => unsigned(&json!({ "aud": asked.in_query("audience") })),
            "project/project-id" => "shop".to_owned(),
            other => panic!("{other}"),
        };
        Answer(200, google, body)
    });
    let surroundings = || with(&[("GCE_METADATA_HOST", server.host()), ("NO_GCE_CHECK", "")]);
    let (token, cache) = token(surroundings(), client(None)).await;
    assert_eq!(token.unwrap().value(), "t");
    let identity = cache.identity(&Ctx::silent()).await.unwrap();
    assert_eq!(identity.principal.as_deref(), Some("vm@shop.iam.gserviceaccount.com"));
    assert_eq!(identity.project.as_deref(), Some("shop"));
    let id = cache.id_token(&Ctx::silent(), "https://a").await.unwrap();
    assert_eq!(super::super::jwt::claims(id.value()).unwrap()["aud"], "https://a");
}

#[tokio::test]
async fn a_metadata_server_that_is_named_must_be_googles_and_know_an_account() {
    let google = || vec![("metadata-flavor", "Google".to_owned())];
    // AWS has a server at the same address.
    let others = Server::start(|_| ok("no email"));
    let unknowing = Server::start(move |_| Answer(404, google(), String::new()));
    let empty = Server::start(move |_| Answer(200, google(), "\n".to_owned()));
    for (server, why) in [
        (others, "what answers as a metadata server is not Google's"),
        (unknowing, "this machine of Google's has no service account"),
        (empty, "this machine of Google's has no service account"),
    ] {
        let surroundings = with(&[("GCE_METADATA_HOST", server.host()), ("NO_GCE_CHECK", "")]);
        // Nothing after it is looked for: gcloud's login would be another identity.
        let (error, _) = refused(surroundings, client(None)).await;
        assert_eq!(error.kind().exit_code(), 20);
        assert_eq!(error.message(), format!("no credentials come from `{}`: {why}", server.host()));
        assert_eq!(error.hints(), ["GCE_METADATA_HOST names it: mend that, or unset it"]);
    }
}

#[tokio::test]
async fn a_token_that_was_given_is_used_as_it_is() {
    let folder = Folder::new("explicit");
    let path = folder.write("token", "one");
    let (first, cache) = token(with(&[("CARRACK_ACCESS_TOKEN_FILE", &path)]), client(None)).await;
    let first = first.unwrap();
    assert_eq!((first.value(), first.expires()), ("one", None));
    // Whoever writes the file keeps it fresh.
    folder.write("token", "two");
    assert_eq!(cache.renew(&Ctx::silent(), "one").await.unwrap().unwrap().value(), "two");

    let (_, cache) = token(with(&[("CLOUDSDK_AUTH_ACCESS_TOKEN", "one")]), client(None)).await;
    assert!(cache.renew(&Ctx::silent(), "one").await.unwrap().is_none(), "there is only the one");
    assert!(cache.remedy().contains("unset CLOUDSDK_AUTH_ACCESS_TOKEN"), "{}", cache.remedy());
    for wrong in ["two words", "é"] {
        let (error, _) = refused(with(&[("CARRACK_ACCESS_TOKEN", wrong)]), client(None)).await;
        assert_eq!(error.to_string(), "what is in CARRACK_ACCESS_TOKEN is no access token");
    }
    assert!(!format!("{:?}", with(&[("CARRACK_ACCESS_TOKEN", "request-token")])).contains("request-token"));
}

#[tokio::test]
async fn a_variable_that_holds_the_key_in_place_of_its_path_is_never_shown() {
    let key = key_file("https://oauth2.googleapis.com/token").to_string();
    let long = STANDARD.encode(&key);
    let values = [
        key.clone(),
        format!("\u{feff}{key}"),
        format!("'{key}'"),
        long,
        pem(),
        "ya29.secret".into(),
        "opaque-secret".into(),
    ];
    for name in [
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON",
        "CARRACK_ACCESS_TOKEN_FILE",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    ] {
        for value in &values {
            if name.ends_with("KEY_JSON") && value.starts_with('{') {
                continue;
            }
            let (error, shown) = refused(with(&[(name, value)]), client(None)).await;
            assert_eq!(
                (error.kind().exit_code(), error.message()),
                (20, &*format!("{name} names no file that exists"))
            );
            let cache = choose(with(&[(name, value)]), client(None));
            let identity = format!("{:?}", cache.identity(&Ctx::silent()).await);
            assert!(!shown.contains(value.as_str()) && !identity.contains(&value[..value.len().min(20)]), "{shown}");
        }
    }
}
