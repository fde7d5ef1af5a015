use super::*;

fn clock() -> Clock {
    Clock::following_tokio("2026-01-02T03:04:05.678Z".parse().unwrap())
}

/// Writes lines as the writer does. Returns whether they began a file.
fn write(log: &mut LogFile, lines: &str) -> bool {
    let is_new = log.prepare(lines.len()).unwrap();
    log.write_all(lines.as_bytes()).unwrap();
    is_new
}

/// The files of a directory with what they hold, by name.
fn files(directory: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut files: Vec<_> = entries.map(|path| (name(&path), read(&path))).collect();
    files.sort();
    files
}

fn named<const N: usize>(files: [(&str, &str); N]) -> Vec<(String, String)> {
    files.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

#[tokio::test(start_paused = true)]
async fn files_that_give_way_at_the_same_time_are_called_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();

    let begun = ["one\n", "two\n", "three\n", "four-and-long\n", "5\n"].map(|lines| write(&mut log, lines));

    assert_eq!(begun, [false, false, true, true, true]);
    let wanted = named([
        ("audit-2026-01-02T03-04-05.678.log", "one\ntwo\n"),
        ("audit-2026-01-02T03-04-05.679.log", "three\n"),
        ("audit-2026-01-02T03-04-05.680.log", "four-and-long\n"),
        ("audit.log", "5\n"),
    ]);
    assert_eq!(files(directory.path()), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_name_without_an_ending_and_a_file_that_is_there_are_as_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    fs::write(&path, "before\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();

    let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();
    write(&mut log, "one\n");

    let wanted = named([("audit", "one\n"), ("audit-2026-01-02T03-04-05.678", "before\n")]);
    assert_eq!(files(directory.path()), wanted);
    assert_eq!(
        fs::metadata(&path).unwrap().mode() & 0o777,
        0o640,
        "whoever read the old one reads the new one"
    );
}

#[tokio::test(start_paused = true)]
async fn old_files_go_by_number_and_by_age_and_nobody_elses_do() {
    let old = ["12-31T03-04-05.678", "12-31T03-04-05.679", "12-31T03-04-05.680"];
    let others = [
        "audit-2025-12-30.log",
        "audit-2025-12-30T03-04-05.6789.log",
        "audit-2025-12-30T03-04-05.678.log.gz",
        "audit-2025-13-30T03-04-05.678.log",
        "other-2025-12-30T03-04-05.678.log",
        "audit.log",
    ];
    let day = Duration::from_secs(24 * 3600);
    let rotation = || Rotation::at(1).clock(clock());
    for (rotation, kept) in [
        (rotation(), &old[..]),
        (rotation().max_backups(2), &old[1..]),
        (rotation().max_backups(0), &[]),
        (rotation().max_age(2 * day), &old[..]),
        (rotation().max_age(2 * day).max_backups(1), &old[2..]),
        (rotation().max_age(day), &[]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| fs::write(directory.path().join(name), "").unwrap();
        others.iter().for_each(|name| make(name));
        old.iter().for_each(|time| make(&format!("audit-2025-{time}.log")));

        let what = format!("{rotation:?}");
        drop(LogFile::open(&directory.path().join("audit.log"), Some(rotation)).unwrap());

        let mut wanted: Vec<String> = kept.iter().map(|time| format!("audit-2025-{time}.log")).collect();
        wanted.extend(others.map(str::to_owned));
        wanted.sort();
        let found: Vec<_> = files(directory.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, wanted, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_give_way_is_written_on_and_gives_way_later() {
    let directory = tempfile::tempdir().unwrap();
    let [here, away] = ["here", "away"].map(|name| directory.path().join(name));
    fs::create_dir(&here).unwrap();
    let mut log = LogFile::open(&here.join("audit.log"), Some(Rotation::at(8).clock(clock()))).unwrap();
    write(&mut log, "one\n");
    fs::rename(&here, &away).unwrap();

    let mut begun = ["two--\n", "three\n"].map(|lines| write(&mut log, lines)).to_vec();
    assert_eq!(files(&away), named([("audit.log", "one\ntwo--\nthree\n")]), "nothing is lost");
    fs::rename(&away, &here).unwrap();
    begun.push(write(&mut log, "four\n"));
    tokio::time::advance(RETRY).await;
    begun.push(write(&mut log, "five\n"));

    assert_eq!(begun, [false, false, false, true], "it is tried again after a minute");
    let wanted =
        named([("audit-2026-01-02T03-05-05.678.log", "one\ntwo--\nthree\nfour\n"), ("audit.log", "five\n")]);
    assert_eq!(files(&here), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_somebody_else_moved_gives_way_to_the_one_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();
    write(&mut log, "one\n");
    fs::rename(&path, directory.path().join("audit.log.1")).unwrap();
    fs::write(&path, "other\n").unwrap();

    let begun = ["two\n", "three\n"].map(|lines| write(&mut log, lines));

    assert_eq!(begun, [false, true]);
    let wanted = named([("audit.log", "other\nthree\n"), ("audit.log.1", "one\ntwo\n")]);
    assert_eq!(files(directory.path()), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_file_of_somebody_elses_is_written_on_from_a_new_line_and_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();
    write(&mut log, "one\n");
    fs::rename(&path, directory.path().join("audit.log.1")).unwrap();
    fs::write(&path, "torn").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();

    let begun = ["two-\n", "three\n"].map(|lines| write(&mut log, lines));

    assert_eq!(begun, [true, true]);
    let wanted = named([
        ("audit-2026-01-02T03-04-05.678.log", "torn\ntwo-\n"),
        ("audit.log", "three\n"),
        ("audit.log.1", "one\n"),
    ]);
    assert_eq!(files(directory.path()), wanted);
    let mode = fs::metadata(directory.path().join("audit-2026-01-02T03-04-05.678.log")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o644, "who put it there says who reads it");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_links_to_in_the_place_of_the_log_is_left_alone() {
    type Link = fn(&Path, &Path) -> io::Result<()>;
    let links: [Link; 2] = [|to, at| std::os::unix::fs::symlink(to, at), |to, at| fs::hard_link(to, at)];
    for link in links {
        let directory = tempfile::tempdir().unwrap();
        let [path, moved, other] = ["audit.log", "moved", "other"].map(|name| directory.path().join(name));
        fs::write(&other, "another's").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o444)).unwrap();
        let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();
        write(&mut log, "one\n");
        fs::rename(&path, &moved).unwrap();
        // Not even the mode may be changed, and root may write whatever the mode is.
        link(&other, &path).unwrap();

        let begun = write(&mut log, "two--\n");

        assert!(!begun);
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo--\n", "nothing is lost");
        assert_eq!(fs::read_to_string(&other).unwrap(), "another's");
        assert_eq!(fs::metadata(&other).unwrap().mode() & 0o777, 0o444);
    }
}

#[test]
fn no_file_takes_the_name_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    fs::write(&old, "old").unwrap();
    fs::write(&new, "new").unwrap();

    let refused = rename_apart(&new, &old).unwrap_err();

    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(files(directory.path()), named([("new", "new"), ("old", "old")]));
}

#[tokio::test(start_paused = true)]
async fn where_a_link_leads_the_old_files_are() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real");
    fs::create_dir(&real).unwrap();
    let link = directory.path().join("link.log");
    fs::write(real.join("audit.log"), "before\n").unwrap();
    std::os::unix::fs::symlink(real.join("audit.log"), &link).unwrap();

    write(&mut LogFile::open(&link, Some(Rotation::at(8).clock(clock()))).unwrap(), "one\n");

    let wanted = named([("audit-2026-01-02T03-04-05.678.log", "before\n"), ("audit.log", "one\n")]);
    assert_eq!(files(&real), wanted);
    assert_eq!(fs::read_to_string(link).unwrap(), "one\n");
}
