//! What is large, and what is too much.

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client};
use futures::StreamExt as _;
use quarterdeck_core::storage::{Expect, List, Revision, Storage, StorageError, Transaction};
use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};

use crate::server::Etcd;
use crate::{connect, soon};

/// Writes so many values of a size, and returns the last revision.
async fn fill(storage: &EtcdStorage, count: usize, bytes: usize) -> Revision {
    let mut last = Revision(0);
    for index in 0..count {
        let put = Transaction::new().put(format!("/registry/{index:04}"), vec![b'x'; bytes]);
        last = storage.commit(put).await.unwrap();
    }
    last
}

#[tokio::test]
async fn a_list_of_more_than_one_message_is_whole_and_of_one_revision() {
    let etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let at = fill(&storage, 20, 1 << 20).await;
    fill(&storage, 3, 1).await;

    let now = storage.list(List::prefix("/registry/")).await.unwrap();
    let then =
        storage.list(List::prefix("/registry/").at(at).limit(7).after("/registry/0002")).await.unwrap();

    assert_eq!((now.entries.len(), now.remaining), (20, 0));
    assert_eq!(now.entries.iter().filter(|entry| entry.value.len() == 1 << 20).count(), 17);
    assert_eq!((then.entries.len(), then.remaining, then.revision), (7, 10, at));
    assert!(then.entries.iter().all(|entry| entry.value.len() == 1 << 20));
}

#[tokio::test]
async fn a_list_of_many_small_entries_is_whole() {
    let etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    for batch in 0..20 {
        let puts = (0..100).fold(Transaction::new(), |puts, index| {
            puts.put(format!("/registry/{batch:02}/{index:02}"), "x")
        });
        storage.commit(puts).await.unwrap();
    }

    let page = storage.list(List::prefix("/registry/")).await.unwrap();
    let cut = storage.list(List::prefix("/registry/").limit(1234)).await.unwrap();

    assert_eq!((page.entries.len(), page.remaining), (2000, 0));
    assert!(page.entries.is_sorted_by(|one, other| one.key < other.key));
    assert_eq!((cut.entries.len(), cut.remaining), (1234, 766));
}

#[tokio::test]
async fn a_transaction_that_etcd_never_takes_is_invalid_and_says_which_limit() {
    let etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let writes = (0..200).fold(Transaction::new(), |all, index| all.put(format!("/{index}"), "x"));
    let conditions = (0..200).fold(Transaction::new().put("/a", "x"), |all, index| {
        all.expect(format!("/{index}"), Expect::Absent)
    });
    let cases = [
        (writes, "--max-txn-ops"),
        (conditions, "--max-txn-ops"),
        (Transaction::new().put("/a", vec![0; 1700 << 10]), "--max-request-bytes"),
        (Transaction::new().put("/a", vec![0; 20 << 20]), "--max-request-bytes"),
        (Transaction::new().put("", "x"), "a key is empty"),
    ];

    for (transaction, limit) in cases {
        let refused = storage.commit(transaction).await;
        let Err(StorageError::Invalid(why)) = refused else { panic!("{limit}: {refused:?}") };
        assert!(why.contains(limit), "{why}");
    }

    assert_eq!(storage.list(List::prefix("")).await.unwrap().entries, []);
}

#[tokio::test]
async fn a_commit_larger_than_a_message_of_a_watch_stays_whole() {
    let etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let write = |byte: u8| {
        let puts = (0..100)
            .fold(Transaction::new(), |puts, index| puts.put(format!("/w/{index:02}"), vec![byte; 14 << 10]));
        storage.commit(puts)
    };
    let mut expected = Vec::new();
    for byte in 0..4 {
        expected.push(write(byte).await.unwrap());
    }
    let mut live = storage.watch("/w/", expected[3]).await.unwrap();
    expected.push(write(4).await.unwrap());

    let mut late = storage.watch("/w/", Revision(0)).await.unwrap();
    for at in &expected {
        let commit = soon(late.next()).await.unwrap().unwrap();
        assert_eq!((commit.revision, commit.changes.len()), (*at, 100));
    }
    let commit = soon(live.next()).await.unwrap().unwrap();
    assert_eq!((commit.revision, commit.changes.len()), (expected[4], 100));
}

#[tokio::test]
async fn a_watch_that_nobody_reads_holds_up_nobody_however_much_is_written() {
    let etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(storage.watch("/registry/", Revision(0)).await.unwrap());
    }
    let mut read = storage.watch("/registry/", Revision(0)).await.unwrap();

    for _ in 0..3 {
        fill(&storage, 20, 1 << 20).await;
        for _ in 0..20 {
            soon(read.next()).await.unwrap().unwrap();
        }
    }

    let mut seen = Revision(0);
    for _ in 0..60 {
        let commit = soon(idle[3].next()).await.unwrap().unwrap();
        assert!(commit.revision > seen);
        seen = commit.revision;
    }
}

/// Takes back every alarm, as `etcdctl alarm disarm` does.
async fn disarm(client: &mut Client) {
    let raised = client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap();
    for alarm in raised.alarms() {
        let mut options = AlarmOptions::new();
        options.with_member(alarm.member_id());
        client.alarm(AlarmAction::Deactivate, alarm.alarm(), Some(options)).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_etcd_refuses_writes_and_answers_reads_until_there_is_room() {
    let etcd = Etcd::cluster(1, "http", &["--quota-backend-bytes", &(8 << 20).to_string()]);
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let mut written = 0;
    let error = loop {
        let put = Transaction::new().put("/registry/a", vec![b'x'; 1 << 20]);
        match storage.commit(put).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 50, "the quota is 8 MiB");
    };

    assert!(matches!(error, StorageError::Full(_)), "{error:?}");
    assert_eq!(storage.get(&"/registry/a".into()).await.unwrap().unwrap().value.len(), 1 << 20);
    let now = storage.revision().await.unwrap();
    assert!(storage.watch("/registry/", now).await.is_ok());
    storage.compact(now).await.unwrap();
    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    etcd.until("room", async || {
        client.defragment().await.unwrap();
        disarm(&mut client).await;
        storage.commit(Transaction::new().put("/registry/b", "1")).await.ok()
    })
    .await;
}
