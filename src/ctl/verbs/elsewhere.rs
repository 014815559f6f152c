//! Verbs of rabbitmqctl and rabbitmq-diagnostics that can't be here, and what to do instead.
//!
//! They are in no help, but who types one is told why.

use crate::ctl::verb::{Action, Subject, Verb};

pub(super) const SUBJECT: Subject = Subject {
    title: "",
    verbs: &[
        not_here("join_cluster", ONE_NODE),
        not_here("forget_cluster_node", ONE_NODE),
        not_here("rename_cluster_node", ONE_NODE),
        not_here("update_cluster_nodes", ONE_NODE),
        not_here("change_cluster_node_type", ONE_NODE),
        not_here("await_online_nodes", ONE_NODE),
        not_here("force_boot", ONE_NODE),
        not_here("force_standalone_khepri_boot", ONE_NODE),
        not_here("check_if_node_is_mirror_sync_critical", ONE_NODE),
        not_here("sync_queue", ONE_NODE),
        not_here("cancel_sync_queue", ONE_NODE),
        not_here("remove_classic_queue_mirroring_from_policies", ONE_NODE),
        not_here("discover_peers", ONE_NODE),
        not_here("start_app", PROCESS),
        not_here("stop_app", PROCESS),
        not_here("stop", PROCESS),
        not_here("shutdown", PROCESS),
        not_here("wait", "use await_startup, which asks the broker itself"),
        not_here("reset", RESET),
        not_here("force_reset", RESET),
        not_here("eval", ERLANG),
        not_here("eval_file", ERLANG),
        not_here("exec", ERLANG),
        not_here("remote_shell", ERLANG),
        not_here("observer", ERLANG),
        not_here("force_gc", ERLANG),
        not_here("erlang_version", ERLANG),
        not_here("erlang_cookie_hash", ERLANG),
        not_here("erlang_cookie_sources", ERLANG),
        not_here("runtime_thread_stats", ERLANG),
        not_here("schema_info", ERLANG),
        not_here("hipe_compile", ERLANG),
        not_here("encode", SECRETS),
        not_here("decode", SECRETS),
        not_here("encrypt_conf_value", SECRETS),
        not_here("decrypt_conf_value", SECRETS),
        not_here("list_ciphers", SECRETS),
        not_here("rotate_logs", LOGS),
        not_here("log_tail", LOGS),
        not_here("log_tail_stream", LOGS),
        not_here("log_location", LOGS),
        not_here("set_log_level", SETTING),
        not_here("set_disk_free_limit", SETTING),
        not_here("set_vm_memory_high_watermark", SETTING),
        not_here("suspend_listeners", SETTING),
        not_here("resume_listeners", SETTING),
        not_here("activate_free_disk_space_monitoring", SETTING),
        not_here("deactivate_free_disk_space_monitoring", SETTING),
        not_here(
            "restart_vhost",
            "a vhost is there or it isn't: it has no process that could fail",
        ),
        not_here("reconcile_vhosts", "a vhost has no process that could be missing"),
        not_here("list_channel_interceptors", "there are no channel interceptors"),
        not_here("set_channel_interceptor_priorities", "there are no channel interceptors"),
    ],
};

const ONE_NODE: &str = "a FerryMQ broker is one node: there is no cluster to change or to wait for";
const PROCESS: &str = "the broker is one process: start and stop it by its service, for example \
    `systemctl restart ferrymq`; on SIGTERM it stops in order";
const RESET: &str = "to begin anew, stop the broker and move its data directory away; \
    `ferrymqctl export_definitions` saves what is declared";
const ERLANG: &str = "there is no Erlang here; `ferrymqctl status`, `report` and `memory_breakdown` say \
    how the broker is";
const SECRETS: &str = "there are no encrypted values in the configuration: keep secrets in environment \
    variables or in a file that only the broker reads";
const LOGS: &str = "the log goes to standard output: read it where the service's output goes, for \
    example `journalctl -u ferrymq`";
const SETTING: &str = "settings are in the configuration file, the environment and flags, and hold from \
    the next start: see docs/configuration.md";

const fn not_here(name: &'static str, why: &'static str) -> Verb {
    Verb { name, about: why, example: "", words: &[], action: Action::NotHere }
}
