//! Tags and repositories, in pages.
use serde_json::json;

use super::{Bench, NAME, OCI_MANIFEST};

#[tokio::test]
async fn tags_in_pages() {
    let bench = Bench::new();
    for tag in ["v10", "v1", "V1", "latest"] {
        bench.push_image(NAME, tag, "amd64").await;
    }
    let all = bench.ask(&format!("GET /v2/{NAME}/tags/list")).await;
    assert_eq!(all.json(), json!({ "name": NAME, "tags": ["V1", "latest", "v1", "v10"] }));
    assert_eq!((all.header("link"), all.header("content-type")), ("", "application/json"));

    let mut seen = Vec::new();
    let mut target = format!("/v2/{NAME}/tags/list?n=3");
    loop {
        let page = bench.ask(&format!("GET {target}")).await;
        let tags = page.json()["tags"].as_array().unwrap().clone();
        seen.extend(tags.iter().map(|tag| tag.as_str().unwrap().to_owned()));
        let link = page.header("link");
        if link.is_empty() {
            break;
        }
        target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(seen, ["V1", "latest", "v1", "v10"]);

    for (query, tags) in
        [("n=0", json!([])), ("last=v1", json!(["v10"])), ("n=1&last=zzz", json!([])), ("n=4", json!(seen))]
    {
        let answer = bench.ask(&format!("GET /v2/{NAME}/tags/list?{query}")).await;
        assert_eq!((answer.json()["tags"].clone(), answer.header("link")), (tags, ""), "{query}");
    }
    let answer = bench.ask(&format!("GET /v2/{NAME}/tags/list?n=many")).await;
    assert_eq!(answer.refusal(), (400, "PAGINATION_NUMBER_INVALID".to_owned()));
}

#[tokio::test]
async fn the_catalog_lists_what_has_manifests() {
    let bench = Bench::new();
    bench.push_blob("only/blobs", b"x").await;
    assert_eq!(bench.ask("GET /v2/_catalog").await.json(), json!({ "repositories": [] }));
    for name in ["b/b", "a/a"] {
        bench.push_image(name, "v1", "amd64").await;
    }
    assert_eq!(bench.ask("GET /v2/_catalog").await.json(), json!({ "repositories": ["a/a", "b/b"] }));
    let page = bench.ask("GET /v2/_catalog?n=1").await;
    assert_eq!(page.header("link"), "</v2/_catalog?n=1&last=a%2Fa>; rel=\"next\"");
    assert_eq!(bench.ask("GET /v2/_catalog?n=1&last=a%2Fa").await.json(), json!({ "repositories": ["b/b"] }));
}

#[tokio::test]
async fn many_tags_are_listed_in_pages_and_by_their_image() {
    let bench = Bench::new();
    let manifest = bench.image_manifest(NAME, "amd64").await;
    for number in 0..2000 {
        bench.push_manifest(NAME, &format!("t{number:04}"), OCI_MANIFEST, &manifest).await;
    }
    let mut target = format!("/v2/{NAME}/tags/list?n=999");
    let mut sizes = Vec::new();
    while !target.is_empty() {
        let page = bench.ask(&format!("GET {target}")).await;
        sizes.push(page.json()["tags"].as_array().unwrap().len());
        let link = page.header("link").split_once('>').map_or("", |(link, _)| link);
        target = link.trim_start_matches('<').to_owned();
    }
    assert_eq!(sizes, [999, 999, 2]);
    let images = bench.registry.images();
    assert_eq!((images.len(), images[0].tags.len(), images[0].tags[1999].as_str()), (1, 2000, "t1999"));
}
