//! Which live fields a deploy may change: the three-way rule between live, receipt and file.
//!
//! A field that carrack.toml names is owned. Every other live field is kept as it is. Scalars are never removed
//! by absence. Entries of a keyed table are removed when the receipt lists them, the table stands in the file
//! and the entry does not; a table that is absent is not managed, and its part of the receipt is carried on.
//! A variable is a text or a secret: where the file has one of them, the other goes, whoever wrote it. So does a
//! connector where the file names a network, and a fixed number of instances where it names a range.
//! A sidecar is an entry as a whole, with keyed tables of its own: one that goes takes all of its fields with it, and
//! one that stays keeps what the file does not name.
use std::collections::BTreeSet;

use crate::{
    fields::{FieldPath, KEYED_TABLES, SIDECARS, fields, keyed_table, rivals, sidecar},
    observed::ObservedService,
    spec::ServiceSpec,
};

/// What a deploy writes, keeps and records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Fields to write: set where the spec has them, else removed.
    pub write: BTreeSet<FieldPath>,
    /// Live fields that stay although the file does not name them.
    pub kept: Vec<FieldPath>,
    /// The receipt's new list.
    pub receipt: Vec<FieldPath>,
}

/// Applies the rule. `tables` are the keyed tables that stand in the file, `exact` those that are authoritative.
pub fn ownership(
    spec: &ServiceSpec,
    tables: &[FieldPath],
    exact: &[FieldPath],
    live: Option<&ObservedService>,
) -> Ownership {
    let live = live.map(|live| Live {
        present: fields(&live.spec).into_keys().collect(),
        recorded: live.receipt.as_ref().map(|receipt| receipt.owned.as_slice()).unwrap_or_default(),
    });
    let sidecars = spec.workload.sidecars.keys().map(String::as_str).collect();
    three_way(fields(spec).into_keys().collect(), &sidecars, tables, exact, live)
}

/// What is live, by the names of its fields.
#[derive(Debug)]
pub struct Live<'a> {
    /// The fields that are set.
    pub present: BTreeSet<FieldPath>,
    /// Those that the receipt lists.
    pub recorded: &'a [FieldPath],
}

/// The rule itself, on names alone. `sidecars` stand in the file, also those of which it names no field.
pub fn three_way(
    desired: BTreeSet<FieldPath>,
    sidecars: &BTreeSet<&str>,
    tables: &[FieldPath],
    exact: &[FieldPath],
    live: Option<Live<'_>>,
) -> Ownership {
    let Some(Live { present, recorded }) = live else {
        return Ownership { receipt: desired.iter().cloned().collect(), write: desired, kept: Vec::new() };
    };
    let named = |table: &str, names: &[FieldPath]| names.iter().any(|name| name == table);
    let displaced = |path: &str| rivals(path).iter().any(|rival| desired.contains(rival));
    let known: BTreeSet<&str> = recorded.iter().filter_map(|path| Some(sidecar(path)?.0)).collect();
    // Of a keyed table that stands in the file, and not in it; and of a sidecar that is not.
    let absent = |path: &str| !desired.contains(path) && keyed_table(path).is_some_and(|table| named(table, tables));
    let lost = |path: &str| named(SIDECARS, tables) && sidecar(path).is_some_and(|(name, _)| !sidecars.contains(name));
    let ours = |path: &FieldPath| recorded.contains(path) || keyed_table(path).is_some_and(|table| named(table, exact));
    let our_sidecar =
        |path: &str| named(SIDECARS, exact) || sidecar(path).is_some_and(|(name, _)| known.contains(name));
    let removed: BTreeSet<FieldPath> = present
        .iter()
        .filter(|path| !desired.contains(*path))
        .filter(|path| displaced(path) || (absent(path) && ours(path)) || (lost(path) && our_sidecar(path)))
        .cloned()
        .collect();
    let dropped = |path: &FieldPath| displaced(path) || absent(path) || lost(path);
    let receipt: BTreeSet<FieldPath> = recorded.iter().filter(|path| !dropped(path)).chain(&desired).cloned().collect();
    Ownership {
        kept: present.iter().filter(|path| !desired.contains(*path) && !removed.contains(*path)).cloned().collect(),
        receipt: receipt.into_iter().collect(),
        write: desired.into_iter().chain(removed).collect(),
    }
}

/// The words for what is kept: `7 env, 5 of sidecars.proxy, service_account, scaling.max`.
pub fn summarize_kept(kept: &[FieldPath]) -> String {
    let mut parts = Vec::new();
    for table in KEYED_TABLES {
        let count = kept.iter().filter(|path| keyed_table(path) == Some(table)).count();
        if count > 0 {
            parts.push(format!("{count} {table}"));
        }
    }
    let sidecars: BTreeSet<&str> = kept.iter().filter_map(|path| Some(sidecar(path)?.0)).collect();
    for name in sidecars {
        let count = kept.iter().filter(|path| sidecar(path).is_some_and(|(other, _)| other == name)).count();
        parts.push(format!("{count} of {SIDECARS}.{name}"));
    }
    parts.extend(kept.iter().filter(|path| keyed_table(path).is_none() && sidecar(path).is_none()).cloned());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observed::{Readiness, TrafficSplit},
        receipt::Receipt,
        spec::{ContainerSpec, EnvValue, Mebibytes, Scaling, SecretRef},
    };

    fn plain() -> EnvValue {
        EnvValue::Plain("1".to_owned())
    }

    fn secret() -> EnvValue {
        EnvValue::Secret(SecretRef { name: "s".to_owned(), version: "1".to_owned() })
    }

    fn spec(env: &[(&str, EnvValue)]) -> ServiceSpec {
        let mut spec = ServiceSpec::default();
        spec.workload.main.env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        spec
    }

    fn live(env: &[(&str, EnvValue)], owned: &[&str]) -> ObservedService {
        let owned = owned.iter().map(|path| (*path).to_owned()).collect();
        let none = String::new;
        let receipt = Receipt {
            format: 1,
            config: none(),
            commit: None,
            digest: none(),
            previous: None,
            restored: None,
            at: none(),
            by: none(),
            owned,
        };
        ObservedService {
            raw: serde_json::Value::Null,
            receipt: Some(receipt),
            spec: spec(env),
            traffic: TrafficSplit::default(),
            targets: Vec::new(),
            latest: None,
            latest_ready: None,
            url: None,
            readiness: Readiness::Ready,
            conditions: Default::default(),
        }
    }

    fn own(wanted: &[(&str, EnvValue)], tables: &[&str], live: &ObservedService) -> Ownership {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        ownership(&spec(wanted), &tables, &[], Some(live))
    }

    #[test]
    fn a_fixed_number_of_instances_gives_way_to_a_range_and_not_the_other_way_round() {
        let scaling = |min, instances| Scaling { min, instances, ..Scaling::default() };
        let of = |scaling| ServiceSpec { scaling, ..ServiceSpec::default() };
        let mut live = live(&[], &["scaling.instances"]);
        live.spec = of(scaling(Some(0), Some(3)));
        let range = ownership(&of(scaling(Some(1), None)), &[], &[], Some(&live));
        assert_eq!(paths(&range.write), ["scaling.instances", "scaling.min"]);
        assert_eq!(range.receipt, ["scaling.min"]);
        let fixed = ownership(&of(scaling(None, Some(2))), &[], &[], Some(&live));
        assert_eq!((paths(&fixed.write), fixed.kept), (vec!["scaling.instances"], vec!["scaling.min".to_owned()]));
    }

    fn paths(paths: &BTreeSet<FieldPath>) -> Vec<&str> {
        paths.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_variable_that_becomes_a_secret_is_one_field_less_and_one_more() {
        // The section that it stood in may go with it.
        for tables in [&["secrets"][..], &["env", "secrets"]] {
            let own = own(&[("A", secret())], tables, &live(&[("A", plain())], &["env.A"]));
            assert_eq!(paths(&own.write), ["env.A", "secrets.A"]);
            assert_eq!((own.receipt, own.kept), (vec!["secrets.A".to_owned()], Vec::new()));
        }
        let own = own(&[("A", plain())], &["env"], &live(&[("A", secret())], &["secrets.A"]));
        assert_eq!(paths(&own.write), ["env.A", "secrets.A"]);
        assert_eq!(own.receipt, ["env.A"]);
    }

    #[test]
    fn a_variable_of_others_gives_way_to_the_files_own() {
        let own = own(&[("A", plain())], &["env"], &live(&[("A", secret()), ("B", secret())], &[]));
        assert_eq!(paths(&own.write), ["env.A", "secrets.A"]);
        assert_eq!(own.kept, ["secrets.B"]);
    }

    #[test]
    fn what_others_made_a_secret_of_is_theirs() {
        // We wrote `env.A`; now it is a secret, and the file has it no more.
        let own = own(&[], &["env", "secrets"], &live(&[("A", secret())], &["env.A"]));
        assert_eq!((paths(&own.write), own.kept, own.receipt), (vec![], vec!["secrets.A".to_owned()], vec![]));
    }

    /// A live service with these sidecars, each with one variable and a size; `owned` is the receipt.
    fn with_sidecars(names: &[&str], owned: &[&str]) -> ObservedService {
        let mut live = live(&[], owned);
        for name in names {
            let sidecar = ContainerSpec {
                env: [("A".to_owned(), plain())].into(),
                memory: Some(Mebibytes(512)),
                ..ContainerSpec::default()
            };
            live.spec.workload.sidecars.insert((*name).to_owned(), sidecar);
        }
        live
    }

    fn own_sidecars(spec: &ServiceSpec, tables: &[&str], exact: &[&str], live: &ObservedService) -> Ownership {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        ownership(spec, &owned(tables), &owned(exact), Some(live))
    }

    #[test]
    fn a_sidecar_of_ours_goes_whole_and_one_of_others_stays() {
        let live = with_sidecars(&["ours", "theirs"], &["sidecars.ours.env.A"]);
        let own = own_sidecars(&ServiceSpec::default(), &["sidecars"], &[], &live);
        assert_eq!(paths(&own.write), ["sidecars.ours.env.A", "sidecars.ours.resources.memory"]);
        assert_eq!(own.kept, ["sidecars.theirs.env.A", "sidecars.theirs.resources.memory"]);
        assert_eq!((own.receipt, summarize_kept(&own.kept).as_str()), (vec![], "2 of sidecars.theirs"));
        let exact = own_sidecars(&ServiceSpec::default(), &["sidecars"], &["sidecars"], &live);
        assert_eq!((exact.write.len(), exact.kept), (4, vec![]));
    }

    #[test]
    fn without_the_section_no_sidecar_is_managed() {
        let live = with_sidecars(&["ours"], &["sidecars.ours.env.A"]);
        let own = own_sidecars(&ServiceSpec::default(), &[], &[], &live);
        assert!(own.write.is_empty() && own.kept.len() == 2);
        assert_eq!(own.receipt, ["sidecars.ours.env.A"]);
    }

    #[test]
    fn a_sidecar_that_stays_keeps_what_the_file_does_not_name() {
        let live = with_sidecars(&["ours"], &["sidecars.ours.env.A", "sidecars.ours.resources.memory"]);
        let mut spec = ServiceSpec::default();
        spec.workload.sidecars.insert("ours".to_owned(), ContainerSpec::default());
        // Nothing of it is named, not even a table.
        let own = own_sidecars(&spec, &["sidecars"], &[], &live);
        assert!(own.write.is_empty(), "{own:?}");
        assert_eq!(own.receipt, ["sidecars.ours.env.A", "sidecars.ours.resources.memory"]);
        let own = own_sidecars(&spec, &["sidecars", "sidecars.ours.env"], &[], &live);
        assert_eq!(paths(&own.write), ["sidecars.ours.env.A"], "an entry of its own table goes");
        assert_eq!(own.receipt, ["sidecars.ours.resources.memory"]);
    }

    #[test]
    fn a_sidecars_variable_that_becomes_a_secret_leaves_the_main_containers_alone() {
        let mut live = with_sidecars(&["ours"], &["sidecars.ours.env.A"]);
        live.spec.workload.main.env.insert("A".to_owned(), plain());
        let mut spec = ServiceSpec::default();
        let sidecar = ContainerSpec { env: [("A".to_owned(), secret())].into(), ..ContainerSpec::default() };
        spec.workload.sidecars.insert("ours".to_owned(), sidecar);
        let own = own_sidecars(&spec, &["sidecars", "sidecars.ours.secrets"], &[], &live);
        assert_eq!(paths(&own.write), ["sidecars.ours.env.A", "sidecars.ours.secrets.A"]);
        assert_eq!(own.receipt, ["sidecars.ours.secrets.A"]);
        assert_eq!(own.kept, ["env.A", "sidecars.ours.resources.memory"]);
    }

    #[test]
    fn a_file_has_a_name_of_its_own() {
        let mut live = live(&[("A", plain())], &["env.A", "secrets./a/A"]);
        let shown = SecretRef { name: "s".to_owned(), version: "1".to_owned() };
        live.spec.workload.main.mounts = [("/a/A".to_owned(), shown)].into();
        let without = own(&[("A", plain())], &["env", "secrets"], &live);
        assert_eq!(paths(&without.write), ["env.A", "secrets./a/A"]);
        let unmanaged = own(&[("A", plain())], &["env"], &live);
        assert_eq!((paths(&unmanaged.write), unmanaged.kept), (vec!["env.A"], vec!["secrets./a/A".to_owned()]));
        assert_eq!(unmanaged.receipt, ["env.A", "secrets./a/A"]);
    }
}
