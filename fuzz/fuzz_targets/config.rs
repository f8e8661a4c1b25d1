//! A carrack.toml: an answer or an error at a place in the text, and each target resolves or says why not.
#![no_main]

use carrack::config::{Source, load};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let source = Source { path: "carrack.toml".into(), text: text.to_owned() };
    match load(source, &|name| (name == "SET").then(|| "value".to_owned())) {
        Ok(file) => {
            for target in file.target_names() {
                let _ = file.resolve(Some(target));
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            for error in &errors.0 {
                assert!(text.get(error.span()).is_some(), "{:?}", error.span());
            }
            errors.render(true);
        }
    }
});
