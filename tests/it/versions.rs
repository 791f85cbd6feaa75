//! Each PostgreSQL version that the README promises, by topic: tests of the other files once more, on a server of that
//! version, whatever version all other tests run on.

use crate::support::database::{Database, on_server};
use crate::support::migrations::{expect, newest};
use crate::support::server::PostgreSql;
use crate::{daily, machines, migrate, retention, roles, rules, schema, stream};

/// What has to be the same on each version.
macro_rules! versions {
    ($($version:literal $name:ident),*) => {
        $(mod $name {
            #[test]
            fn schema() {
                super::on_version($version, super::SCHEMA);
            }

            #[test]
            fn catalog() {
                super::on_version($version, super::CATALOG);
            }

            #[test]
            fn retention() {
                super::on_version($version, super::RETENTION);
            }

            #[test]
            fn stream() {
                super::on_version($version, super::STREAM);
            }
        })*
    };
}

versions!(15 postgresql_15, 16 postgresql_16, 17 postgresql_17, 18 postgresql_18);

/// Migrating from nothing, back and again; months; rights; what SQL and Rust compute alike.
const SCHEMA: &[fn()] = &[
    schema::the_deploy_step_says_what_it_did_and_does_it_once,
    all_of_it_goes_down_and_up_again,
    schema::months_are_created_ahead_and_on_demand_without_stopping_anyone,
    schema::a_late_event_of_a_detached_month_gets_a_partition_of_its_own,
    schema::rust_and_sql_compute_the_same,
    roles::the_worker_may_do_nothing_but_its_work,
    roles::the_grants_name_all_that_is_in_the_schema,
];

/// What is read from system catalogs: drift, locks, rewrites, and the plans of questions.
const CATALOG: &[fn()] = &[
    migrate::verify_finds_each_kind_of_drift,
    migrate::verify_knows_what_months_may_look_like,
    migrate::plan_tells_locks_rewrites_and_lint,
    migrate::an_interrupted_concurrent_build_is_repaired_by_the_next_run,
    rules::no_lock_on_a_big_table_is_taken_that_is_not_allowed,
    daily::each_question_has_its_index,
];

/// What is detached, dropped and removed, beside readers and writers.
const RETENTION: &[fn()] = &[
    retention::what_was_interrupted_is_finished,
    retention::many_workers_drop_a_month_once_and_late_events_bring_nothing_back,
    retention::old_reports_go_with_their_details_and_leave_their_figures,
    retention::a_report_that_is_being_written_is_left_for_the_next_time,
];

/// Events through workers.
const STREAM: &[fn()] = &[
    stream::few_messages_in_any_order,
    daily::later_events_of_a_mail_are_hot_updates,
    machines::changing_a_rule_changes_history,
    machines::whatever_the_order_and_the_splits_the_judge_ends_where_the_pure_function_does,
];

fn on_version(version: u32, tests: &[fn()]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(PostgreSql::of_version(version));
    on_server(&server.url(), tests);
}

#[tokio::main(flavor = "current_thread")]
async fn all_of_it_goes_down_and_up_again() {
    let database = Database::empty().await;
    expect(&database, 0, &["up"]).await;
    for version in (0..newest()).rev() {
        expect(&database, 0, &["down", "--to", &version.to_string(), "--allow-data-loss"]).await;
    }
    expect(&database, 0, &["up"]).await;
    expect(&database, 0, &["verify"]).await;
}
