//! What kind of program a file is, from its first bytes and, for ELF, its headers.
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use object::{
    Endianness,
    elf::{ET_DYN, ET_EXEC, FileHeader64},
    read::{
        ReadCache,
        elf::{FileHeader, ProgramHeader},
    },
};

/// The kernel reads so much of a `#!` line: <https://man7.org/linux/man-pages/man2/execve.2.html>.
const SCRIPT_LINE_BYTES: usize = 256;

pub(crate) enum Program {
    Elf(Elf),
    Script(String),
    Other(&'static str),
}

pub(crate) struct Elf {
    pub(crate) machine: String,
    pub(crate) is_program: bool,
    pub(crate) loader: Option<String>,
}

/// Reads the headers alone.
pub(crate) fn read(path: &Path) -> io::Result<Program> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(SCRIPT_LINE_BYTES as u64).read_to_end(&mut start)?;
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let text = String::from_utf8_lossy(line);
        let interpreter = text.split_ascii_whitespace().next();
        return Ok(match interpreter {
            Some(interpreter) => Program::Script(interpreter.to_owned()),
            None => Program::Other("a script whose first line names no program"),
        });
    }
    Ok(match start.first_chunk::<4>() {
        Some(b"\x7fELF") => read_elf(&start, file),
        // <https://github.com/apple-oss-distributions/xnu/blob/main/EXTERNAL_HEADERS/mach-o/loader.h>
        Some([0xcf | 0xce, 0xfa, 0xed, 0xfe] | [0xca, 0xfe, 0xba, 0xbe]) => Program::Other("a macOS program"),
        Some([b'M', b'Z', ..]) => Program::Other("a Windows program"),
        _ if start.is_empty() => Program::Other("an empty file"),
        _ => Program::Other("neither an ELF program nor a script with a `#!` line"),
    })
}

fn read_elf(start: &[u8], file: File) -> Program {
    let machine = match machine(start) {
        Some(machine) => machine,
        None => return Program::Other("a broken ELF file"),
    };
    let cache = ReadCache::new(file);
    let Ok(header) = FileHeader64::<Endianness>::parse(&cache) else {
        // Of 32 bits: its machine says enough.
        return Program::Elf(Elf { machine, is_program: true, loader: None });
    };
    let Ok(endian) = header.endian() else {
        return Program::Other("a broken ELF file");
    };
    let kind = header.e_type(endian);
    let Ok(segments) = header.program_headers(endian, &cache) else {
        return Program::Other("a broken ELF file");
    };
    let mut loader = None;
    for segment in segments {
        match segment.interpreter(endian, &cache) {
            Ok(Some(path)) => loader = Some(String::from_utf8_lossy(path).into_owned()),
            Ok(None) => {}
            Err(_) => return Program::Other("a broken ELF file"),
        }
    }
    Program::Elf(Elf { machine, is_program: matches!(kind, ET_EXEC | ET_DYN), loader })
}

/// The machine by the compilers' name: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>.
fn machine(start: &[u8]) -> Option<String> {
    let (class, data) = (*start.get(4)?, *start.get(5)?);
    let number: [u8; 2] = start.get(18..20)?.try_into().ok()?;
    let number = match data {
        1 => u16::from_le_bytes(number),
        2 => u16::from_be_bytes(number),
        _ => return None,
    };
    let name = match (number, class) {
        (0x3e, 2) => "x86_64",
        (0x3e, 1) => "x86_64 with 32-bit addresses",
        (0xb7, 2) => "aarch64",
        (0x03, _) => "i686 (32 bit)",
        (0x28, _) => "arm (32 bit)",
        (0xf3, 2) => "riscv64",
        (0x15, _) => "powerpc64",
        (0x16, _) => "s390x",
        _ => return Some(format!("machine {number:#x}")),
    };
    Some(name.to_owned())
}
