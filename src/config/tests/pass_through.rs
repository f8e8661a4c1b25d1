//! A cloud's own section of a target.
use carrack_core::spec::ProviderId;
use serde_json::json;

use super::{loaded, try_load};
use crate::config::{
    document::{self, Node},
    read::{Context, Read, Table},
    rules,
    schema::Target,
};

const TARGET: &str = "provider = \"cloud-run\"\nproject = \"my-project\"\nregion = \"us-central1\"\n";

fn cloud(section: &str) -> serde_json::Value {
    let text = format!("[service]\nname = \"a\"\n[targets.prod]\n{TARGET}[targets.prod.cloud-run]\n{section}");
    loaded(&text).resolve(Some("prod")).expect("it stands in it").deploy.cloud.expect("the section stands")
}

#[test]
fn dotted_keys_and_tables_mean_the_same() {
    let expected = json!({ "iapEnabled": true, "template": { "a": "b", "n": 1, "f": 0.5, "list": [{ "x": [] }] } });
    let dotted =
        "iapEnabled = true\ntemplate.a = \"b\"\ntemplate.n = 1\ntemplate.f = 0.5\ntemplate.list = [{ x = [] }]\n";
    assert_eq!(cloud(dotted), expected);
    let tables = "iapEnabled = true\n[targets.prod.cloud-run.template]\na = \"b\"\nn = 1\nf = 0.5\n\
                  [[targets.prod.cloud-run.template.list]]\nx = []\n";
    assert_eq!(cloud(tables), expected);
    assert_eq!(cloud(""), json!({}));
}

#[test]
fn a_target_without_one_has_none() {
    let text = format!("[service]\nname = \"a\"\n[targets.prod]\n{TARGET}");
    assert_eq!(loaded(&text).resolve(Some("prod")).expect("it stands in it").deploy.cloud, None);
}

#[test]
fn what_is_no_json_is_refused() {
    for (value, message) in [
        ("1979-05-27", "`at` takes what JSON has, not a date"),
        ("nan", "`at` cannot be nan: JSON has no such number"),
        ("9999999999999999999999999", "`at` cannot be 9999999999999999999999999: JSON has no such number"),
    ] {
        let text = format!("[service]\nname = \"a\"\n[targets.prod]\n{TARGET}[targets.prod.cloud-run]\nat = {value}\n");
        let errors = try_load(&text).expect_err(value);
        assert_eq!(errors.0[0].message, message);
    }
    let text = format!("[service]\nname = \"a\"\n[targets.prod]\n{TARGET}cloud-run = true\n");
    assert_eq!(try_load(&text).expect_err("it is no table").0[0].message, "`cloud-run` takes a table, not `true`");
}

#[test]
fn it_stands_only_in_a_target_of_that_cloud() {
    let text = format!("{TARGET}[cloud-run]\n").into();
    let document = document::parse(&text, &|_| None).expect("it is TOML");
    let node: &Node = &document.root;
    let mut context = Context { path: vec!["targets".to_owned(), "prod".to_owned()], ..Context::default() };
    let mut target = Target::read(node, &mut context).expect("it is a target");
    assert!(context.problems.is_empty());
    target.provider.value = ProviderId("fargate".to_owned());
    rules::target(&target, &Table { node }, &mut context);
    let problem = context.problems.remove(0).locate("carrack.toml".into(), &text);
    assert_eq!(problem.message, "[targets.prod.cloud-run] is for the provider `cloud-run`");
    assert_eq!(problem.label.as_deref(), Some("this target's is `fargate`"));
}
