use super::*;

/// Wants a token of its own, and takes the name and password only where it is given.
fn bearer_registry() -> TestRegistry {
    hooked(|head| {
        if let Some(query) = head.target.strip_prefix("/token?") {
            let expected = "service=test&scope=repository%3Ap%2Fr%2Fhello%3Apull%2Cpush";
            let good = query == expected && head.header("authorization") == "Basic bWU6c2VjcmV0";
            return Some(if good {
                Instead::Answer(200, Vec::new(), r#"{"token":"good"}"#.into())
            } else {
                Instead::Answer(403, Vec::new(), r#"{"errors":[{"code":"DENIED"}]}"#.into())
            });
        }
        if head.header("authorization") == "Bearer good" {
            return None;
        }
        let challenge = format!(
            r#"Bearer realm="http://{}/token",service="test",scope="repository:p/r/hello:pull""#,
            head.header("host")
        );
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
        Some(Instead::Answer(401, vec![("WWW-Authenticate", challenge)], body.into()))
    })
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_requests() {
    let case = Case::new().await;
    let registry = bearer_registry();
    // Two questions go out together and are both sent away.
    case.push_as(&registry, Some("v1"), Some(&auth())).await.expect("pushed");
    assert_eq!(registry.requests("GET").len(), 1);
    let heads = registry.heads();
    let refused =
        heads.iter().filter(|head| !head.target.starts_with("/token") && head.header("authorization") != "Bearer good");
    let refused: Vec<&str> = refused.map(|head| head.header("authorization")).collect();
    assert_eq!(refused, ["Basic bWU6c2VjcmV0"; 2]);
}

#[tokio::test]
async fn credentials_that_are_refused_end_it_at_once() {
    let case = Case::new().await;
    let registry = bearer_registry();
    let error = case.push(&registry, None).await.expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let registry =
        hooked(|_| Some(Instead::Answer(401, vec![("WWW-Authenticate", "Basic realm=x".into())], String::new())));
    let error = case.push_as(&registry, None, Some(&auth())).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(registry.requests("").len(), 1);
    assert!(!format!("{error:?}{error}").contains("secret"));
}

#[tokio::test]
async fn uploads_elsewhere_get_no_credentials_and_need_tls() {
    let mut case = Case::new().await;
    let registry = hooked(|head| {
        let elsewhere = "storage.example.com";
        if head.header("host") == elsewhere {
            return Some(Instead::Answer(201, Vec::new(), String::new()));
        }
        let location = format!("https://{elsewhere}{}x", head.target);
        (head.method == "POST").then(|| Instead::Answer(202, vec![("Location", location)], String::new()))
    });
    let endpoint = Endpoint::parse(&format!("http://{}", registry.host())).expect("endpoint");
    case.http = client(Some(endpoint));
    let to = Destination { repository: "us-docker.pkg.dev/p/r/hello".into(), tag: None };
    let (layout, digest) = (&case.built.layout, &case.built.digest);
    let _ = push(&case.cx, &case.way(Some(&auth())), layout, digest, &to).await;
    let heads = registry.heads();
    let (elsewhere, ours): (Vec<&Head>, Vec<&Head>) =
        heads.iter().partition(|head| head.header("host") == "storage.example.com");
    assert_eq!(elsewhere.len(), 4);
    assert!(elsewhere.iter().all(|head| head.header("authorization").is_empty()));
    assert!(ours.iter().all(|head| !head.header("authorization").is_empty()));

    let registry = hooked(|head| {
        let location = "http://storage.example.com/x".to_owned();
        (head.method == "POST").then(|| Instead::Answer(202, vec![("Location", location)], String::new()))
    });
    let error = case.push_as(&registry, None, Some(&auth())).await.expect_err("plain http");
    let expected = "refusing to go on at `http://storage.example.com`";
    assert!(error.message().starts_with(expected), "{error}");
}

#[tokio::test]
async fn a_clouds_host_is_reached_through_the_local_endpoint() {
    let mut case = Case::new().await;
    let registry = TestRegistry::start(Behaviour::default());
    let endpoint = Endpoint::parse(&format!("http://{}", registry.host())).expect("endpoint");
    case.http = client(Some(endpoint));
    let to = Destination { repository: "us-docker.pkg.dev/p/r/hello".into(), tag: None };
    let pushed = push(&case.cx, &case.way(Some(&auth())), &case.built.layout, &case.built.digest, &to).await;
    let image = ImageRef(pushed.expect("pushed").reference);
    assert_eq!(image.0, format!("us-docker.pkg.dev/p/r/hello@{}", case.built.digest));
    assert!(registry.heads().iter().all(|head| head.header("host") == "us-docker.pkg.dev"));
    assert!(registry.heads().iter().all(|head| head.header("authorization") == "Basic bWU6c2VjcmV0"));
    let found = exists(&case.cx, &case.way(None), &image).await.expect("asked");
    assert_eq!(found, Some(case.built.digest.clone()));

    // The registry of that name has nothing yet: it is not asked to mount.
    let layout = Layout::open(&case.built.layout).expect("layout");
    let (_, manifest) = layout.manifest(&case.built.digest).expect("manifest");
    let places = manifest.layers().iter().map(|layer| layout.pushed_to(layer.digest().as_ref(), "us-docker.pkg.dev"));
    assert_eq!(places.flatten().collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn another_port_of_this_machine_gets_no_credentials() {
    let case = Case::new().await;
    let elsewhere = hooked(|_| Some(Instead::Answer(201, Vec::new(), String::new())));
    let host = elsewhere.host();
    let registry = hooked(move |head| {
        let location = format!("http://{host}{}x", head.target);
        (head.method == "POST").then(|| Instead::Answer(202, vec![("Location", location)], String::new()))
    });
    let _ = case.push_as(&registry, None, Some(&auth())).await;
    assert_eq!(elsewhere.heads().len(), 4);
    assert!(elsewhere.heads().iter().all(|head| head.header("authorization").is_empty()));
    assert!(registry.heads().iter().all(|head| !head.header("authorization").is_empty()));

    // The same port by another name is the registry.
    let other_name = hooked(|head| {
        let location = format!("http://{}{}x", head.header("host").replace("127.0.0.1", "localhost"), head.target);
        (head.method == "POST").then(|| Instead::Answer(202, vec![("Location", location)], String::new()))
    });
    let _ = case.push_as(&other_name, None, Some(&auth())).await;
    assert!(other_name.requests("PUT").len() >= 4);
    assert!(other_name.heads().iter().all(|head| !head.header("authorization").is_empty()));
}

#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let case = Case::new().await;
    let registry =
        hooked(|head| (head.method == "POST").then(|| Instead::Answer(202, Vec::new(), " ".repeat(2 << 20))));
    let error = case.push(&registry, None).await.expect_err("too long");
    assert!(error.message().contains("longer than"), "{error}");
}

#[tokio::test]
async fn a_token_in_the_place_of_a_password_is_exchanged_by_a_form() {
    let case = Case::new().await;
    let registry = hooked(|head| {
        if head.target == "/token" {
            let good = head.method == "POST"
                && head.header("content-type") == "application/x-www-form-urlencoded"
                && head.header("authorization").is_empty();
            let answer = Instead::Answer(200, Vec::new(), r#"{"access_token":"good"}"#.into());
            return Some(if good { answer } else { Instead::Answer(403, Vec::new(), String::new()) });
        }
        if head.header("authorization") == "Bearer good" {
            return None;
        }
        let challenge = format!(r#"Bearer realm="http://{}/token",service="test""#, head.header("host"));
        Some(Instead::Answer(401, vec![("WWW-Authenticate", challenge)], String::new()))
    });
    let token = RegistryAuth { user: "<token>".into(), password: String::from("refresh").into() };
    case.push_as(&registry, None, Some(&token)).await.expect("pushed");
    assert!(registry.heads().iter().all(|head| !head.header("authorization").starts_with("Basic")));
}

#[tokio::test]
async fn a_token_for_a_mount_may_pull_from_where_it_comes() {
    let case = Case::new().await;
    let registry = bearer_for_two();
    let to = |name: &str| Destination { repository: format!("{}/p/r/{name}", registry.host()), tag: None };
    let way = case.way(Some(&auth()));
    for name in ["hello", "other"] {
        push(&case.cx, &way, &case.built.layout, &case.built.digest, &to(name)).await.expect(name);
    }
    let scopes: Vec<String> =
        registry.requests("GET").into_iter().filter(|request| request.contains("/token?")).collect();
    assert_eq!(
        scopes,
        [
            "GET /token?scope=repository%3Ap%2Fr%2Fhello%3Apull%2Cpush",
            "GET /token?scope=repository%3Ap%2Fr%2Fother%3Apull%2Cpush&scope=repository%3Ap%2Fr%2Fhello%3Apull",
        ]
    );
}

/// Gives a token to whoever asks, and wants it everywhere else.
fn bearer_for_two() -> TestRegistry {
    hooked(|head| {
        if head.target.starts_with("/token?") {
            return Some(Instead::Answer(200, Vec::new(), r#"{"token":"good"}"#.into()));
        }
        let challenge = format!(r#"Bearer realm="http://{}/token""#, head.header("host"));
        (head.header("authorization") != "Bearer good")
            .then(|| Instead::Answer(401, vec![("WWW-Authenticate", challenge)], String::new()))
    })
}
