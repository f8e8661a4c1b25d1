//! Ways in for the fuzz targets below `fuzz/`: each takes any bytes, and panics when what must hold does not.
//! Built for fuzzing and for tests alone; the tests send the seeds through.
pub use crate::{
    gcp::logging::fuzzing::filter,
    registry::fuzzing::{manifest, requests},
    runtime::extract_fuzzing::{archive, layer},
};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_seed_is_survived() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 5] = [
            ("archive", archive),
            ("filter", filter),
            ("layer", layer),
            ("manifest", manifest),
            ("requests", requests),
        ];
        for (name, target) in targets {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
            let seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!seeds.is_empty(), "{name} has no seeds");
            for seed in seeds {
                target(&fs::read(seed).unwrap());
            }
            target(b"");
        }
    }
}
