use super::*;

#[test]
fn who_asks_for_the_same_name_gets_the_same_metric() {
    let metrics = Metrics::new();
    let ask = |metrics: &Metrics| metrics.counters("seen_total", "Things seen.", &["kind"]).with(&["ship"]);

    ask(&metrics).inc();
    ask(&metrics.clone()).add(2);

    assert_eq!(ask(&metrics).value(), 3);
    assert_eq!(ask(&Metrics::new()).value(), 0, "another registry is another world");
}

#[test]
fn both_formats_say_the_same() {
    let metrics = Metrics::new();
    metrics.counters("seen_total", "Things seen.", &["kind"]).with(&["a \"b\"\n"]).inc();
    metrics.gauges("depth", "How deep.", &[]).with(&[]).set(7);
    metrics.histograms("took_seconds", "How long.", &["verb"], &[0.5, 2.0]).with(&["GET"]).observe(1.0);
    metrics.sample("level", "How high.", &["side"], |samples| samples.push(&["port"], 1.5));

    let plain = metrics.answer(None);
    let open = metrics.answer(Some("application/openmetrics-text"));

    assert_eq!(plain.content_type, "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# HELP seen_total Things seen.",
        "# TYPE seen_total counter",
        r#"seen_total{kind="a \"b\"\n"} 1"#,
        "depth 7",
        "# TYPE took_seconds histogram",
        r#"took_seconds_bucket{verb="GET",le="0.5"} 0"#,
        r#"took_seconds_bucket{verb="GET",le="2"} 1"#,
        r#"took_seconds_bucket{verb="GET",le="+Inf"} 1"#,
        r#"took_seconds_count{verb="GET"} 1"#,
        r#"level{side="port"} 1.5"#,
    ] {
        assert!(plain.text.lines().any(|it| it == line), "{line} is not in\n{}", plain.text);
    }
    assert!(open.content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(open.text.contains("# TYPE seen counter\n") && open.text.ends_with("# EOF\n"), "{}", open.text);
}

#[test]
fn what_there_is_is_known_before_anything_is_counted() {
    let metrics = Metrics::new();
    let _ = metrics.histograms("took_seconds", "How long.", &["verb"], &[1.0]);
    metrics.sample("level", "How high.", &["side"], |_| {});
    metrics.sample("seen_total", "Things seen.", &[], |_| {});

    let described = metrics.describe();

    let told: Vec<_> =
        described.iter().map(|it| (it.name.as_str(), it.kind.to_string(), it.labels, &*it.help)).collect();
    assert_eq!(
        told,
        [
            ("level", "gauge".to_owned(), &["side"][..], "How high."),
            ("seen_total", "counter".to_owned(), &[][..], "Things seen."),
            ("took_seconds", "histogram".to_owned(), &["verb"][..], "How long."),
        ]
    );
}

#[test]
fn a_family_has_a_bound_and_counts_the_rest_together() {
    let metrics = Metrics::new();
    let family = metrics.counters("seen_total", "Things seen.", &["kind"]);

    for number in 0..MOST_SERIES + 5 {
        family.with(&[&number.to_string()]).inc();
    }

    assert_eq!(family.with(&["other"]).value(), 5);
    assert_eq!(family.with(&["3"]).value(), 1, "what was there before is still told apart");
    assert_eq!(metrics.answer(None).text.lines().count(), 2 + MOST_SERIES + 1);
}

#[test]
fn a_series_that_is_removed_makes_room_for_another() {
    let metrics = Metrics::new();
    let family = metrics.counters("seen_total", "Things seen.", &["kind"]);
    for number in 0..MOST_SERIES {
        family.with(&[&number.to_string()]).inc();
    }

    family.remove(&["3"]);
    family.remove(&["never there"]);
    family.with(&["new"]).inc();
    family.with(&["one too many"]).inc();

    let text = metrics.answer(None).text;
    assert!(!text.contains("seen_total{kind=\"3\"}"));
    assert!(text.contains("seen_total{kind=\"new\"} 1\n"));
    assert_eq!(family.with(&["other"]).value(), 1);
}

#[test]
fn a_process_tells_of_itself_once() {
    let metrics = Metrics::new();

    metrics.with_process();
    metrics.with_process();

    let text = metrics.answer(None).text;
    for name in ["resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"] {
        let name = format!("process_{name} ");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&name)).collect();
        assert_eq!(lines.len(), usize::from(cfg!(target_os = "linux")), "{name} in\n{text}");
    }
}
