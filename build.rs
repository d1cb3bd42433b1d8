//! Compiles `proto/` in pure Rust: messages for every ring, services for the edge and the client.

use std::path::PathBuf;

const FILES: &[&str] = &[
    "truc/v1/envelope.proto",
    "truc/v1/manifest.proto",
    "truc/v1/reason.proto",
    "truc/v1/evidence.proto",
    "truc/v1/submission.proto",
    "truc/v1/delivery.proto",
    "truc/v1/status.proto",
    "truc/v1/directory.proto",
    "truc/v1/docproof.proto",
    "truc/v1/search.proto",
    "truc/v1/export.proto",
    "truc/v1/completeness.proto",
    "truc/v1/volumes.proto",
    "truc/v1/audit.proto",
    "truc/v1/presence.proto",
    "truc/v1/flows.proto",
    "truc/v1/operator.proto",
    "truc/v1/retention.proto",
    "truc/v1/integrity.proto",
    "truc/v1/console.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    let descriptors = compiler.file_descriptor_set();
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let messages = out.join("messages");
    std::fs::create_dir_all(&messages)?;
    prost_build::Config::new().out_dir(messages).bytes(["."]).compile_fds(descriptors.clone())?;

    // The inner rings see messages only: services live in a module of their own.
    let services = out.join("services");
    std::fs::create_dir_all(&services)?;
    tonic_prost_build::configure()
        .out_dir(services)
        .extern_path(".truc.v1", "crate::proto")
        .compile_fds(descriptors)?;
    Ok(())
}
