//! Stub.
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &crate::workspace::Workspace, _: Arguments) -> anyhow::Result<()> {
    Ok(())
}
