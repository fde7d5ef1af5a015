//! The image that a pod's sandbox runs: one program that waits. It is made here, so that nothing has to be fetched or
//! built.

/// Returns the file system of the image, as a tar archive with one program, `/pause`. `None` for architectures (as Docker
/// names them) for which none was written.
pub(super) fn archive(architecture: &str) -> Option<Vec<u8>> {
    let program = match architecture {
        "x86_64" | "amd64" => program(62, &X86_64),
        "aarch64" | "arm64" => program(183, &AARCH64),
        _ => return None,
    };
    Some(tar(&[("pause", &program)]))
}

/// Calls `pause` for ever. The kernel delivers no signal to the first process of a container that it does not ask for, so it
/// takes a SIGKILL to end.
///
/// ```text
/// again: b8 22 00 00 00   mov eax, 34     ; pause
///        0f 05            syscall
///        eb f7            jmp again
/// ```
const X86_64: [u8; 9] = [0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];

/// Calls `ppoll` on nothing without a time limit, for ever: there is no `pause` here.
///
/// ```text
/// again: d2800000   mov x0, #0
///        d2800001   mov x1, #0
///        d2800002   mov x2, #0
///        d2800003   mov x3, #0
///        d2800928   mov x8, #73     ; ppoll
///        d4000001   svc #0
///        17fffffa   b again
/// ```
const AARCH64: [u8; 28] = [
    0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2, 0x28,
    0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xfa, 0xff, 0xff, 0x17,
];

/// Returns an ELF program of one segment, for a machine of 64 bits with the lower byte first.
fn program(machine: u16, code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    const ADDRESS: u64 = 0x40_0000;
    let length = HEADERS + code.len() as u64;
    let mut file = Vec::new();
    // What it is: 64 bits, lower byte first, version 1.
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&2_u16.to_le_bytes()); // a program
    file.extend_from_slice(&machine.to_le_bytes());
    file.extend_from_slice(&1_u32.to_le_bytes()); // version
    file.extend_from_slice(&(ADDRESS + HEADERS).to_le_bytes()); // where it begins
    file.extend_from_slice(&64_u64.to_le_bytes()); // where the segment's header is
    file.extend_from_slice(&0_u64.to_le_bytes()); // no sections
    file.extend_from_slice(&0_u32.to_le_bytes()); // flags
    for size in [64_u16, 56, 1, 64, 0, 0] {
        // The header's size; a segment header's size and number; a section header's size, number and names.
        file.extend_from_slice(&size.to_le_bytes());
    }
    file.extend_from_slice(&1_u32.to_le_bytes()); // to be loaded
    file.extend_from_slice(&5_u32.to_le_bytes()); // readable, executable
    for value in [0, ADDRESS, ADDRESS, length, length, 0x1_0000] {
        // Where it is in the file and in memory (twice), its length in both, its alignment.
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(code);
    file
}

/// Returns a tar archive (ustar) of executable files. Names are below 100 bytes.
pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, b"0000755\0"); // mode
        put(108, b"0000000\0"); // user
        put(116, b"0000000\0"); // group
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, b"00000000000\0"); // time
        put(148, b"        "); // the sum is made with blanks in its place
        put(156, b"0"); // a file
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_program_waits_until_it_is_killed() {
        let place = tempfile::tempdir().unwrap();
        let (archive, path) = (archive(std::env::consts::ARCH).unwrap(), place.path().join("pause"));
        let length = usize::from_str_radix(std::str::from_utf8(&archive[124..135]).unwrap(), 8).unwrap();
        std::fs::write(&path, &archive[512..512 + length]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();

        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let early = std::iter::repeat_with(|| child.try_wait().unwrap()).take(1000).find(Option::is_some);
        child.kill().unwrap();

        assert!(early.is_none(), "it ended: {early:?}");
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn other_architectures_have_no_program() {
        assert!(archive("s390x").is_none());
    }
}
