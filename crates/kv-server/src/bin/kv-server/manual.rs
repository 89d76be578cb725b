//! Completions for shells, and the page of the manual.

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::Roff;

/// The script that teaches a shell the words of the program.
pub(crate) fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "kv-server", &mut script);
    // clap_complete 4.6 takes the hyphen of the program's name for that of a subcommand in half of
    // the places of bash's script, so that no option of a subcommand would be found.
    match (shell, String::from_utf8(script)) {
        (Shell::Bash, Ok(script)) => {
            script.replace("kv__subcmd__server", "kv__server").into_bytes()
        }
        (_, Ok(script)) => script.into_bytes(),
        (_, Err(error)) => error.into_bytes(),
    }
}

/// The page of the manual, in roff: the program, then its commands that have options.
pub(crate) fn page(command: &Command) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = write_page(&mut page, command);
    page
}

fn write_page(page: &mut Vec<u8>, command: &Command) -> std::io::Result<()> {
    let program = Man::new(command.clone());
    program.render_title(page)?;
    program.render_name_section(page)?;
    program.render_synopsis_section(page)?;
    program.render_description_section(page)?;
    program.render_options_section(page)?;
    program.render_subcommands_section(page)?;
    for name in ["dev", "inspect", "backup", "recover", "restore"] {
        let Some(command) = command.find_subcommand(name).cloned() else {
            continue;
        };
        let command = Man::new(command);
        let mut heading = Roff::new();
        heading.control("SH", [format!("KV-SERVER {}", name.to_uppercase()).as_str()]);
        heading.to_writer(page)?;
        command.render_description_section(page)?;
        command.render_options_section(page)?;
    }
    program.render_version_section(page)
}
