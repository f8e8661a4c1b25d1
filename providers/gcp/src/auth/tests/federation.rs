use carrack_core::event::{Event, EventSink};

use super::{
    server::{Answer, Asked, Server, client, no, ok},
    *,
};

const STS: &str = "POST sts.googleapis.com /v1/token";
const ACCOUNT: &str = "/v1/projects/-/serviceAccounts/deploy@shop.iam.gserviceaccount.com";

/// Whoever shows the subject token is exchanged, and may speak for the account.
fn google(asked: &Asked) -> Answer {
    let access = format!("POST iamcredentials.googleapis.com {ACCOUNT}:generateAccessToken");
    let id = format!("POST iamcredentials.googleapis.com {ACCOUNT}:generateIdToken");
    let subject = unsigned(&json!({ "sub": "repo:me/shop" }));
    if asked.what == STS {
        return match asked.form("subject_token") == subject {
            true => ok(json!({ "access_token": "federated", "expires_in": 3600, "token_type": "Bearer" })),
            false => no(
                400,
                json!({ "error": "invalid_grant", "error_description": "The audience in ID Token does not match." }),
            ),
        };
    }
    if asked.header("authorization") == "Bearer federated" && asked.what == access {
        return ok(json!({ "accessToken": "spoken-for", "expireTime": "2099-01-01T00:00:00Z" }));
    }
    if asked.header("authorization") == "Bearer federated" && asked.what == id {
        return ok(json!({ "token": "e30.e30.x" }));
    }
    if asked.what.ends_with("/idtoken") && asked.header("authorization") == "bearer request-token" {
        return ok(json!({ "value": subject }));
    }
    if asked.what.ends_with("/github") && asked.header("authorization") == "Bearer request-token" {
        return ok(json!({ "count": 1, "value": subject }));
    }
    no(500, "{}")
}

fn file(source: Value) -> Value {
    json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/12/locations/global/workloadIdentityPools/ci/providers/github",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": format!("https://iamcredentials.googleapis.com{ACCOUNT}:generateAccessToken"),
        "credential_source": source,
    })
}

#[tokio::test]
async fn a_file_with_a_url_or_a_file_leads_to_the_account() {
    let server = Server::start(google);
    let folder = Folder::new("federation");
    let subject = folder.write("subject", format!("{}\n", unsigned(&json!({ "sub": "repo:me/shop" }))));
    let by_url = json!({
        "url": server.url("/idtoken?a=b"), "headers": { "Authorization": "bearer request-token" },
        "format": { "type": "json", "subject_token_field_name": "value" },
    });
    for source in [by_url, json!({ "file": subject })] {
        let path = folder.write("federation.json", file(source));
        let (token, cache) = token(with(&[("GOOGLE_APPLICATION_CREDENTIALS", &path)]), server.client()).await;
        assert_eq!(token.unwrap().value(), "spoken-for");
        assert_eq!(cache.id_token(&Ctx::silent(), "https://a").await.unwrap().value(), "e30.e30.x");
        let identity = cache.identity(&Ctx::silent()).await.unwrap();
        assert_eq!(identity.principal.as_deref(), Some("deploy@shop.iam.gserviceaccount.com"));
        assert_eq!((identity.kind, identity.project.as_deref()), ("impersonation", Some("shop")));
        let own = identity.through.unwrap();
        assert_eq!((own.kind, own.principal.as_deref()), ("workload identity federation", Some("repo:me/shop")));
    }
    let exchange = server.asked().into_iter().find(|asked| asked.what == STS).unwrap();
    assert_eq!(exchange.form("grant_type"), "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(exchange.form("requested_token_type"), "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(exchange.form("scope"), "https://www.googleapis.com/auth/cloud-platform");
    assert!(exchange.form("audience").starts_with("//iam.googleapis.com/projects/12/"));
    let spoken = server.asked().into_iter().find(|asked| asked.what.ends_with("AccessToken")).unwrap();
    let body: Value = serde_json::from_str(&spoken.body).unwrap();
    assert_eq!(body["lifetime"], "3600s");
    assert_eq!(body["scope"], json!(["https://www.googleapis.com/auth/cloud-platform"]));
    let id = server.asked().into_iter().find(|asked| asked.what.ends_with("IdToken")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&id.body).unwrap()["audience"], "https://a");
}

#[tokio::test]
async fn github_and_gitlab_say_who_a_job_is_with_nothing_on_the_disk() {
    let server = Server::start(google);
    let subject = unsigned(&json!({ "sub": "repo:me/shop" }));
    let url = server.url("/github?api-version=2.0");
    let github = [
        ("GITHUB_ACTIONS", "true"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token"),
    ];
    let gitlab = [("GITLAB_CI", "true"), ("CARRACK_ID_TOKEN", subject.as_str())];
    for (variables, from) in [(with(&github), "GitHub Actions"), (with(&gitlab), "the variable CARRACK_ID_TOKEN")] {
        let surroundings = Surroundings { federation: Some(federation()), ..variables };
        let (token, cache) = token(surroundings, server.client()).await;
        assert_eq!(token.unwrap().value(), "spoken-for");
        assert_eq!(cache.identity(&Ctx::silent()).await.unwrap().from, from);
    }
    let asked = server.asked().remove(0);
    assert_eq!(asked.in_query("api-version"), "2.0");
    assert_eq!(
        asked.in_query("audience"),
        "//iam.googleapis.com/projects/12/locations/global/workloadIdentityPools/ci/providers/github"
    );
    // Without an account it is the federated identity itself.
    let alone = Federation { service_account: None, ..federation() };
    let surroundings = Surroundings { federation: Some(alone), ..with(&gitlab) };
    let (token, cache) = token(surroundings, server.client()).await;
    assert_eq!((token.unwrap().value(), cache.principal()), ("federated", Some("repo:me/shop")));
    let error = cache.id_token(&Ctx::silent(), "a").await.expect_err("none");
    assert_eq!(error.to_string(), "a federated identity alone has no ID token");
}

#[tokio::test]
async fn a_job_that_may_not_ask_for_its_token_is_told_what_to_write() {
    for (name, expected) in [
        ("GITHUB_ACTIONS", "give the job `permissions: { id-token: write, contents: read }`"),
        (
            "GITLAB_CI",
            "give the job `id_tokens: { CARRACK_ID_TOKEN: { aud: \"https://iam.googleapis.com/projects/12/locations/global/workloadIdentityPools/ci/providers/github\" } }`",
        ),
    ] {
        let surroundings = Surroundings { federation: Some(federation()), ..with(&[(name, "true")]) };
        let (error, _) = refused(surroundings, client(None)).await;
        assert_eq!((error.kind().exit_code(), error.hints()), (20, &[expected.to_owned()][..]));
    }
}

#[tokio::test]
async fn a_subject_that_is_not_there_or_is_refused_is_told() {
    let server = Server::start(google);
    let folder = Folder::new("subjects");
    let told = async |source: Value| {
        let path = folder.write("federation.json", file(source));
        let surroundings = with(&[("GOOGLE_APPLICATION_CREDENTIALS", &path)]);
        let (error, shown) = refused(surroundings, server.client()).await;
        assert_eq!(error.kind().exit_code(), 20, "{shown}");
        shown.lines().next().unwrap().replace(folder.0.to_str().unwrap(), "FOLDER").replace(server.host(), "SERVER")
    };
    let json = json!({ "type": "json", "subject_token_field_name": "value" });
    assert_eq!(
        told(json!({ "file": folder.0.join("missing") })).await,
        "20 the federation's token file `FOLDER/missing` cannot be read"
    );
    let empty = folder.write("empty", "\n");
    assert_eq!(told(json!({ "file": empty })).await, "20 `FOLDER/empty` has no token");
    let other = folder.write("other", "{\"token\": \"subject-token\"}");
    assert_eq!(told(json!({ "file": other, "format": json })).await, "20 `FOLDER/other` has no token in `value`");
    let wrong = folder.write("wrong", "subject-token");
    assert_eq!(
        told(json!({ "file": wrong })).await,
        "20 sts.googleapis.com refuses the credentials: The audience in ID Token does not match (invalid_grant)"
    );
    let refusing = Server::start(|_| no(401, "{}"));
    assert_eq!(told(json!({ "url": refusing.url("/t") })).await, "20 127.0.0.1 gives no token to exchange");
}

#[tokio::test]
async fn a_fresh_grant_is_waited_for_and_a_missing_one_told() {
    let denied = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).";
    let denied = move || no(403, json!({ "error": { "code": 403, "message": denied, "status": "PERMISSION_DENIED" } }));
    let server = Server::start(move |asked| match asked.what.contains("late@") {
        true if asked.body.contains("delegate@") => {
            ok(json!({ "accessToken": "t", "expireTime": "2099-01-01T00:00:00Z" }))
        }
        _ => denied(),
    });
    let as_account =
        |name: &str| Surroundings { impersonate: Some(name.to_owned()), ..with(&[("CARRACK_ACCESS_TOKEN", "mine")]) };
    let chain = "delegate@a.iam.gserviceaccount.com, late@a.iam.gserviceaccount.com";
    assert_eq!(token(as_account(chain), server.client()).await.0.unwrap().value(), "t");

    let (sink, mut events) = EventSink::channel();
    let cx = Ctx { events: sink, ..Ctx::silent() };
    let error =
        choose(as_account("never@a.iam.gserviceaccount.com"), server.client()).token(&cx).await.expect_err("never");
    assert_eq!(error.kind().exit_code(), 21);
    assert_eq!(
        error.to_string(),
        "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)"
    );
    assert!(error.hints()[0].contains(
        "add-iam-policy-binding never@a.iam.gserviceaccount.com --role=roles/iam.serviceAccountTokenCreator"
    ));
    let mut waits = 0;
    while let Some(event) = events.try_recv() {
        waits += usize::from(matches!(event, Event::Retrying { .. }));
    }
    assert_eq!(waits, 3);

    let (error, _) = refused(as_account("not an email/../x"), server.client()).await;
    assert_eq!(
        (error.kind().exit_code(), error.to_string().as_str()),
        (2, "`not an email/../x` is no service account to impersonate")
    );
}
