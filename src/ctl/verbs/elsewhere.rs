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
        not_here("force_boot", ONE_NODE),
        not_here("force_standalone_khepri_boot", ONE_NODE),
        not_here("sync_queue", ONE_NODE),
        not_here("cancel_sync_queue", ONE_NODE),
        not_here("remove_classic_queue_mirroring_from_policies", ONE_NODE),
        not_here("discover_peers", ONE_NODE),
        not_here("await_online_quorum_plus_one", ONE_NODE),
        not_here("await_online_synchronized_mirror", ONE_NODE),
        not_here("check_if_cluster_has_classic_queue_mirroring_policy", ONE_NODE),
        not_here("drain", ONE_NODE),
        not_here("revive", ONE_NODE),
        not_here("post_upgrade", ONE_NODE),
        not_here("add_member", REPLICAS),
        not_here("delete_member", REPLICAS),
        not_here("grow", REPLICAS),
        not_here("shrink", REPLICAS),
        not_here("rebalance", REPLICAS),
        not_here("quorum_status", REPLICAS),
        not_here("reclaim_quorum_memory", REPLICAS),
        not_here("add_replica", STREAMS),
        not_here("delete_replica", STREAMS),
        not_here("stream_status", STREAMS),
        not_here("set_stream_retention_policy", STREAMS),
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
        not_here("maybe_stuck", ERLANG),
        not_here("schema_info", ERLANG),
        not_here("hipe_compile", ERLANG),
        not_here("encode", SECRETS),
        not_here("decode", SECRETS),
        not_here("encrypt_conf_value", SECRETS),
        not_here("decrypt_conf_value", SECRETS),
        not_here("list_ciphers", SECRETS),
        not_here("certificates", NO_TLS),
        not_here("cipher_suites", NO_TLS),
        not_here("tls_versions", NO_TLS),
        not_here("rotate_logs", LOGS),
        not_here("log_tail", LOGS),
        not_here("log_tail_stream", LOGS),
        not_here("log_location", LOGS),
        not_here("os_env", SHOWN),
        not_here("command_line_arguments", SHOWN),
        not_here("directories", SHOWN),
        not_here("list_network_interfaces", HOST),
        not_here("resolve_hostname", HOST),
        not_here("resolver_info", HOST),
        not_here("consume_event_stream", EVENTS),
        not_here("enable_auth_attempt_source_tracking", SOURCES),
        not_here("disable_auth_attempt_source_tracking", SOURCES),
        not_here("autocomplete", "`ferrymqctl completions bash` prints what a shell needs for it"),
        not_here("enable", PLUGINS),
        not_here("disable", PLUGINS),
        not_here("is_enabled", PLUGINS),
        not_here("list", PLUGINS),
        not_here("set", PLUGINS),
        not_here("set_log_level", SETTING),
        not_here("set_disk_free_limit", SETTING),
        not_here("set_vm_memory_high_watermark", SETTING),
        not_here("suspend_listeners", LISTENERS),
        not_here("resume_listeners", LISTENERS),
        not_here("activate_free_disk_space_monitoring", SETTING),
        not_here("deactivate_free_disk_space_monitoring", SETTING),
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
const LOGS: &str = "the log goes to standard error: read it where the service's output goes, for \
    example `journalctl -u ferrymq`";
const LISTENERS: &str = "listeners are open for as long as the broker runs: keep clients away at the \
    load balancer or firewall, and see `close_all_connections` and `pause_queue`";
const REPLICAS: &str = "a queue has no replicas, it is on the broker's one disk: see `list_queues name \
    type state`";
const STREAMS: &str = "there are no streams: see docs/compatibility.md";
const NO_TLS: &str = "the broker's listeners speak no TLS: what ends TLS before it has certificates and \
    ciphers";
const SHOWN: &str = "`ferrymqctl environment` shows the settings in force, whether they came from the \
    file, the environment or the command line, and `status` where the data is";
const HOST: &str = "that is for the system to say: `ip address`, `getent hosts NAME`";
const EVENTS: &str = "bind a queue to the exchange amq.rabbitmq.event for events as they happen; \
    `ferrymqctl audit` lists the changes that were made";
const SOURCES: &str = "logins are always counted by address and user, too: see \
    `list_node_auth_attempt_stats --by-source`";
const PLUGINS: &str = "there are no plugins: what FerryMQ can do is built in";
const SETTING: &str = "settings are in the configuration file, the environment and flags, and hold from \
    the next start: see docs/configuration.md";

const fn not_here(name: &'static str, why: &'static str) -> Verb {
    Verb { name, about: why, example: "", words: &[], action: Action::NotHere }
}
