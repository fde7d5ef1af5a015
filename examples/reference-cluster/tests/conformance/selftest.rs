//! The runner against recorded answers: each case must pass on them, and none on others.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::case::{Case, Step, files, load};
use crate::check::{Rules, check_all, word};
use crate::compare::{Drift, Level};
use crate::overrides::Overrides;
use crate::passing::Passing;
use crate::replay::replay;
use crate::server::Server;

fn rules() -> Rules {
    Rules::new(Overrides::default())
}

#[tokio::test(start_paused = true)]
async fn every_case_passes_on_the_recorded_answers() {
    let mut count = 0;
    let rules = rules();
    for case in files().iter().flat_map(|file| load(file)) {
        let id = word(count);
        let verdict = rules.check(&replay(&case, &id), &case, &id).await;
        assert!(verdict.as_recorded, "{}: {:#?}", case.id(), verdict.problems);
        count += 1;
    }
    assert_eq!(count, 526);
}

#[test]
fn the_lists_name_recorded_cases_and_other_answers_have_sources() {
    let cases: Vec<Case> = files().iter().flat_map(|file| load(file)).collect();

    assert_eq!(Overrides::load().faults(&cases), Vec::<String>::new());
    assert_eq!(Passing::load().faults(&cases, &[]), Vec::<String>::new());
}

#[test]
fn every_recorded_answer_differs_from_one_with_another_status_or_one_member_more() {
    let drift = Drift::load();
    for case in files().iter().flat_map(|file| load(file)) {
        for (step, want) in case.steps.iter().filter_map(|step| Some((step, step.want.as_ref()?))) {
            assert_eq!(drift.differences(want, want, step), [], "{}", case.id());

            let mut other = want.clone();
            other["status"] = 599.into();
            let found = drift.differences(want, &other, step);
            assert_eq!(found.iter().map(|difference| difference.level).collect::<Vec<_>>(), [Level::Status]);

            let mut more = want.clone();
            if step.ignore.iter().any(|pattern| pattern == "^$") || !more["body"].is_object() {
                continue;
            }
            more["body"]["unheardOf"] = true.into();
            let found = drift.differences(want, &more, step);
            assert_eq!(found.iter().map(|difference| difference.level).collect::<Vec<_>>(), [Level::Extra]);
        }
    }
}

fn levels(want: Value, got: Value, step: &Step) -> Vec<(Level, String)> {
    let answer = |body| json!({"status": 200, "type": "application/json", "body": body});
    let found = Drift::load().differences(&answer(want), &answer(got), step);
    found.into_iter().map(|difference| (difference.level, difference.text)).collect()
}

#[test]
fn a_difference_names_its_path_and_level() {
    let want = json!({"spec": {"a": 1, "b": [1, {"c": "x"}], "d": true}});
    let got = json!({"spec": {"a": 2, "b": [1, {"c": "y"}, 3], "e": null}});

    assert_eq!(
        levels(want, got, &Step::default()),
        [
            (Level::Body, "/spec/a: want 1, got 2".to_owned()),
            (Level::Body, r#"/spec/b: want 2 items, got 3: [1, {"c": "y"}, 3]"#.to_owned()),
            (Level::Body, "/spec/b/1/c: want x, got y".to_owned()),
            (Level::Body, "/spec/d: missing, want true".to_owned()),
            (Level::Extra, "/spec/e: not expected: null".to_owned()),
        ]
    );
}

#[test]
fn a_difference_within_a_status_is_an_error() {
    let found = levels(
        json!({"kind": "Status", "message": "a"}),
        json!({"kind": "Status", "message": "b"}),
        &Step::default(),
    );

    assert_eq!(found, [(Level::Error, "/message: want a, got b".to_owned())]);
}

#[test]
fn causes_and_the_parts_of_a_message_have_no_order() {
    let want = json!({"message": "P is invalid: [a: x, b: y]", "causes": [{"f": 1}, {"f": 2}]});
    let got = json!({"message": "P is invalid: [b: y, a: x]", "causes": [{"f": 2}, {"f": 1}]});
    let other = json!({"message": "P is invalid: [b: y, a: z]", "causes": [{"f": 2}, {"f": 1}]});

    assert_eq!(levels(want.clone(), got, &Step::default()), []);
    assert_eq!(levels(want, other, &Step::default()).len(), 1);
}

#[test]
fn newer_fields_and_wordings_are_allowed() {
    let want = json!({"singularName": "", "message": "must be no more than 63 characters", "spec": {}});
    let got = json!({"singularName": "pod", "message": "must be no more than 63 bytes", "spec": {"suspend": false}});

    assert_eq!(levels(want, got, &Step::default()), []);
}

#[test]
fn managed_fields_count_only_where_a_step_says_so() {
    let (want, got) = (json!({"managedFields": [1]}), json!({"managedFields": [2]}));

    assert_eq!(levels(want.clone(), got.clone(), &Step::default()), []);
    assert_eq!(levels(want, got, &Step { managed_fields: true, ..Step::default() }).len(), 1);
}

#[test]
fn a_step_may_ignore_paths() {
    let step = Step { ignore: vec!["/a$".to_owned()], ..Step::default() };

    assert_eq!(levels(json!({"x": {"a": 1}, "a": 1}), json!({"x": {"a": 2}}), &step), []);
    assert_eq!(levels(json!({"x": {"ab": 1}}), json!({"x": {"ab": 2}}), &step).len(), 1);
}

#[test]
fn of_a_list_with_members_only_the_named_ones_are_compared() {
    let step = Step { members: Some("name".to_owned()), ..Step::default() };
    let want = json!([{"name": "a", "v": 1}, {"name": "b", "v": 1}, {"name": "c", "v": 1}]);
    let got = json!([{"name": "new"}, {"name": "b", "v": 2}, {"name": "a", "v": 1}]);

    assert_eq!(
        levels(want, got, &step),
        [(Level::Body, "/b/v: want 1, got 2".to_owned()), (Level::Body, ": no c".to_owned())]
    );
}

#[test]
fn watches_differ_by_status_number_and_content_of_events() {
    let drift = Drift::load();
    let answer = |status: u16, events: Value| json!({"status": status, "events": events});
    let want = answer(200, json!([{"type": "ADDED", "object": {"a": 1}}]));
    let level =
        |got: Value| drift.differences(&want, &got, &Step::default()).first().map(|found| found.level);

    assert_eq!(level(want.clone()), None);
    assert_eq!(level(answer(410, json!([]))), Some(Level::Status));
    assert_eq!(level(answer(200, json!([]))), Some(Level::Body));
    assert_eq!(level(answer(200, json!([{"type": "DELETED", "object": {"a": 1}}]))), Some(Level::Body));
}

/// A server that answers every request with this object.
fn always(body: &'static str) -> Server {
    Server::new(tower::service_fn(move |_: Request<Full<Bytes>>| async move {
        Ok::<_, Infallible>(
            Response::builder().header("Content-Type", "application/json").body(Full::from(body)).unwrap(),
        )
    }))
}

#[test]
fn no_case_passes_on_an_answer_that_fits_none_and_waiting_takes_no_time() {
    let cases: Vec<Case> = files().iter().flat_map(|file| load(file)).collect();

    let verdicts = check_all(&rules(), &cases, |_| true, async || (always(r#"{"a": 1}"#), ()));

    let ids: Vec<String> = cases.iter().map(Case::id).collect();
    assert_eq!(verdicts.iter().map(|verdict| verdict.id.clone()).collect::<Vec<_>>(), ids);
    assert!(verdicts.iter().all(|verdict| !verdict.passes()));
}

#[tokio::test(start_paused = true)]
async fn a_case_stops_where_a_step_has_nothing_to_build_on() {
    for (step, reason) in [
        (
            json!({"do": "GET /a", "until": {"path": "b", "timeout": 40}}),
            "waited in vain for {\"path\": \"b\"",
        ),
        (json!({"do": "GET /a", "until": {"path": "a", "equals": 2}}), "waited in vain"),
        (json!({"do": "GET /a", "until": {"path": "a", "absent": true}}), "waited in vain"),
        (json!({"do": "GET /a", "until": {"status": 404}}), "waited in vain"),
        (json!({"do": "GET /a", "save": {"x": "b.c"}}), "nothing at b.c to save"),
        (json!({"do": "GET /a", "quiet": true, "until": {"path": "a", "equals": 1.0}}), ""),
        (json!({"join": "w"}), "no watch is called w"),
    ] {
        let steps = vec![serde_json::from_value(step.clone()).expect("a step")];
        let case = Case { file: "f".to_owned(), name: "n".to_owned(), needs_namespace: false, steps };

        let verdict = rules().check(&always(r#"{"a": 1}"#), &case, &word(1)).await;

        assert_eq!(verdict.passes(), reason.is_empty(), "{step}");
        assert!(verdict.problems.iter().all(|problem| problem.contains(reason)), "{:?}", verdict.problems);
        assert_eq!(verdict.waited_in_vain, reason.starts_with("waited"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_case_fails_on_the_answers_of_another() {
    let cases = load("patches.json");
    let id = word(1);

    let mut changed = load("patches.json");
    let steps = changed[0].steps.iter_mut().filter_map(|step| step.want.as_mut());
    steps.for_each(|want| want["status"] = 418.into());
    let verdict = rules().check(&replay(&changed[0], &id), &cases[0], &id).await;

    assert!(!verdict.passes());
    assert!(verdict.levels.contains(&Level::Status), "{:#?}", verdict.problems);
}
