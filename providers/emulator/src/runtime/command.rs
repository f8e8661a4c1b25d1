//! What a container runs: the image's own settings, and what the launch puts in their place.
use super::{Launch, LaunchError, launcher::message::Program};

/// As Docker's when the image sets none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Marks every process of one local cloud, so that [`super::sweep`] finds it.
pub(super) const INSTANCE_VARIABLE: &str = "CARRACK_INSTANCE";

/// The program of `launch`, told to listen on `port` if on any.
pub(super) fn program(launch: &Launch, port: Option<u16>, instance: &str) -> Result<Program, LaunchError> {
    let config = &launch.image.config;
    let (entrypoint, cmd): (&[String], &[String]) =
        if launch.command.is_empty() { (&config.entrypoint, &config.cmd) } else { (&launch.command, &[]) };
    let cmd = if launch.args.is_empty() { cmd } else { &launch.args };
    let arguments: Vec<String> = entrypoint.iter().chain(cmd).cloned().collect();
    if arguments.is_empty() {
        return Err(LaunchError::Exec(format!(
            "the image `{}` has neither an entrypoint nor a command",
            launch.image.reference
        )));
    }
    let mut environment = vec![("PATH".to_owned(), PATH.to_owned()), ("HOME".to_owned(), "/root".to_owned())];
    let image = config.env.iter().filter_map(|line| line.split_once('='));
    for (name, value) in image {
        set(&mut environment, name, value);
    }
    for (name, value) in &launch.env {
        set(&mut environment, name, value);
    }
    if let Some(port) = port {
        set(&mut environment, "PORT", &port.to_string());
    }
    set(&mut environment, INSTANCE_VARIABLE, instance);
    let working_dir = [&launch.working_dir, &config.working_dir].into_iter().flatten().find(|path| !path.is_empty());
    let working_dir = working_dir.map_or("/", String::as_str).to_owned();
    let zero = arguments.iter().chain([&working_dir]).any(|text| text.contains('\0'))
        || environment.iter().any(|(name, value)| name.contains('\0') || value.contains('\0'));
    if zero {
        return Err(LaunchError::Exec("an argument or a variable has a zero byte in it".to_owned()));
    }
    Ok(Program { arguments, environment, working_dir })
}

fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    // An empty name or one with `=` cannot be told from another variable.
    if name.is_empty() || name.contains('=') {
        return;
    }
    match environment.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => environment.push((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        image::{Blob, Image, ImageConfig},
        runtime::Company,
    };

    fn launch() -> Launch {
        let config = ImageConfig {
            entrypoint: vec!["/app".to_owned()],
            cmd: vec!["serve".to_owned()],
            env: vec!["LEVEL=info".to_owned(), "PATH=/bin".to_owned(), "broken".to_owned()],
            working_dir: Some("/srv".to_owned()),
            user: None,
        };
        let image = Image {
            reference: "hello".to_owned(),
            digest: String::new(),
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            configuration: Blob { digest: String::new(), path: std::path::PathBuf::new() },
            config,
            layers: Vec::new(),
        };
        Launch {
            id: "hello-1".to_owned(),
            image,
            command: Vec::new(),
            args: Vec::new(),
            env: vec![("LEVEL".to_owned(), "warn".to_owned()), ("PORT".to_owned(), "1".to_owned())],
            working_dir: None,
            port: Some(8080),
            reached: Vec::new(),
            memory: None,
            mounts: Vec::new(),
            company: Company::Nobody,
            output: mpsc::channel(1).0,
        }
    }

    #[test]
    fn the_launch_replaces_what_the_image_says() {
        let text = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        for (command, args, expected) in [
            (text(&[]), text(&[]), text(&["/app", "serve"])),
            (text(&[]), text(&["x"]), text(&["/app", "x"])),
            (text(&["/other"]), text(&[]), text(&["/other"])),
            (text(&["/other"]), text(&["x"]), text(&["/other", "x"])),
        ] {
            let launch = Launch { command, args, ..launch() };
            assert_eq!(program(&launch, Some(8080), "i").unwrap().arguments, expected);
        }
    }

    #[test]
    fn the_environment_is_the_images_then_the_launchs_then_ours() {
        let found = program(&launch(), Some(8080), "i").unwrap();
        let expected =
            [("PATH", "/bin"), ("HOME", "/root"), ("LEVEL", "warn"), ("PORT", "8080"), ("CARRACK_INSTANCE", "i")];
        let expected: Vec<(String, String)> =
            expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(found.environment, expected);
        assert_eq!(found.working_dir, "/srv");
    }

    #[test]
    fn nothing_to_run_is_said() {
        let mut launch = launch();
        launch.image.config = ImageConfig::default();
        let Err(LaunchError::Exec(text)) = program(&launch, Some(8080), "i") else { panic!("it has nothing to run") };
        assert_eq!(text, "the image `hello` has neither an entrypoint nor a command");
    }
}
