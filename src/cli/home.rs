//! `packmule` alone: the four things one wants to do, a line each, and where to go from there.

use std::io::Write as _;

use crate::cli::Exit;

/// Fits a terminal of 80 columns, and needs no other page.
const SCREEN: &str = "\
packmule moves datasets that do not fit through the wire: on ordinary drives,
encrypted, and proved from the source to the S3 object.

  what it will take     packmule plan --size 40TB --link 1Gbit/s
  onto drives           packmule stage /data --volume /mnt/a --job ~/jobs/lab \\
                            --unlock-code-file code.txt
  into S3               packmule ingest /mnt/a --to s3://BUCKET/PREFIX \\
                            --job ~/jobs/lab --unlock-code-file code.txt
  where it stands       packmule status --job ~/jobs/lab

New here?   packmule demo      the whole way on this machine, in seconds
            packmule doctor    is this machine ready, and what to mend
            packmule init      asks the questions, and writes the answers down
Then        packmule help      every command
            packmule help stage    one of them, with examples
";

/// Prints the screen.
///
/// # Errors
/// When standard output is closed.
pub(super) fn show() -> anyhow::Result<Exit> {
    std::io::stdout().write_all(SCREEN.as_bytes())?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_screen_fits_a_small_terminal() {
        assert!(SCREEN.lines().count() < 24);
        assert!(SCREEN.lines().all(|line| line.chars().count() <= 80));
    }
}
