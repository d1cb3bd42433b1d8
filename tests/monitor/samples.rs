//! What lies in `deploy/` fits the program.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn truc(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_truc")).args(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

/// Each sample, with its folders moved into one of this test, is a configuration that the hub would start with.
#[test]
fn the_sample_configurations_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(truc(&["pki", "init", "--out", &at("certs")]).0, Some(0));
    for sample in ["commune", "province", "national"] {
        let text = std::fs::read_to_string(deploy(&format!("config/{sample}.toml"))).unwrap();
        assert!(text.contains("/etc/truc/certs/") && text.contains("/var/lib/truc"), "{sample}");
        let here = text.replace("/etc/truc/certs", &at("certs")).replace("/var/lib/truc", &at("data"));
        std::fs::write(at("truc.toml"), here).unwrap();
        let (code, told) = truc(&["config", "check", &at("truc.toml")]);
        assert_eq!(code, Some(0), "{sample}: {told}");
        std::fs::write(at("bad.toml"), text.replace("[listen]", "[listenn]")).unwrap();
        assert_eq!(truc(&["config", "check", &at("bad.toml")]).0, Some(1), "a bad one is refused");
    }
}

/// The commands in unit and image exist.
#[test]
fn unit_and_image_call_commands_that_exist() {
    let unit = std::fs::read_to_string(deploy("systemd/truc.service")).unwrap();
    for wanted in ["truc config check /etc/truc/truc.toml", "truc serve --config /etc/truc/truc.toml"] {
        assert!(unit.contains(wanted), "{wanted}");
    }
    let image = std::fs::read_to_string(deploy("Dockerfile")).unwrap();
    assert!(image.contains(r#"CMD ["serve", "--config", "/etc/truc/truc.toml"]"#));
    let pinned = std::fs::read_to_string(deploy("../rust-toolchain.toml")).unwrap();
    let channel = pinned.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(image.contains(&format!("FROM rust:{channel}-")), "the image builds with {channel}");
    for help in [["config", "check"], ["serve", "--config"]] {
        let (_, told) = truc(&[help[0], "--help"]);
        assert!(told.contains(help[1]), "{told}");
    }
}
