//! Field offsets of kernel structures, in bytes: the indices into the programs' `OFFSETS` global.
//!
//! Rust BPF has no CO-RE relocation, so the agent reads each member's offset from the running
//! kernel's BTF and hands the array over as read-only data before the programs are verified.

/// Offset of a member that this kernel does not have.
pub const NONE: u32 = u32::MAX;

macro_rules! offsets {
    ($($name:ident = $structure:literal $(. $member:literal)+;)*) => {
        offsets!(@index 0usize; $($name = $structure $(. $member)+;)*);
        /// `(structure, path of members)` of each index, for the reader of BTF.
        pub const MEMBERS: [(&str, &[&str]); COUNT] = [$(($structure, &[$($member),+])),*];
    };
    (@index $n:expr;) => {
        /// How many offsets there are.
        pub const COUNT: usize = $n;
    };
    (@index $n:expr; $name:ident = $structure:literal $(. $member:literal)+; $($rest:tt)*) => {
        #[doc = concat!("`", $structure, $(".", $member,)+ "`")]
        pub const $name: usize = $n;
        offsets!(@index $n + 1usize; $($rest)*);
    };
}

offsets! {
    SOCK_STATE = "sock" . "__sk_common" . "skc_state";
    SOCK_FAMILY = "sock" . "__sk_common" . "skc_family";
    SOCK_NUM = "sock" . "__sk_common" . "skc_num";
    SOCK_DPORT = "sock" . "__sk_common" . "skc_dport";
    SOCK_RCV_SADDR = "sock" . "__sk_common" . "skc_rcv_saddr";
    SOCK_DADDR = "sock" . "__sk_common" . "skc_daddr";
    SOCK_V6_RCV_SADDR = "sock" . "__sk_common" . "skc_v6_rcv_saddr";
    SOCK_V6_DADDR = "sock" . "__sk_common" . "skc_v6_daddr";
    SOCK_NET = "sock" . "__sk_common" . "skc_net" . "net";
    SOCK_SOCKET = "sock" . "sk_socket";
    SOCK_SHUTDOWN = "sock" . "sk_shutdown";
    SOCK_CGROUP = "sock" . "sk_cgrp_data" . "cgroup";
    SOCK_ERR = "sock" . "sk_err";
    SOCK_ACK_BACKLOG = "sock" . "sk_ack_backlog";
    LISTEN_HANDSHAKES = "inet_connection_sock" . "icsk_accept_queue" . "qlen" . "counter";
    SOCK_PROTOCOL = "sock" . "sk_protocol";
    SOCK_TYPE = "sock" . "sk_type";
    INET_SPORT = "inet_sock" . "inet_sport";
    ICSK_ULP_OPS = "inet_connection_sock" . "icsk_ulp_ops";
    TCP_COPIED_SEQ = "tcp_sock" . "copied_seq";
    TCP_RCV_NXT = "tcp_sock" . "rcv_nxt";
    TCP_WRITE_SEQ = "tcp_sock" . "write_seq";
    TCP_SND_NXT = "tcp_sock" . "snd_nxt";
    TCP_SND_UNA = "tcp_sock" . "snd_una";
    TCP_LAST_RECEIVED = "inet_connection_sock" . "icsk_ack" . "lrcvtime";
    NET_COOKIE = "net" . "net_cookie";
    TASK_TGID = "task_struct" . "tgid";
    TASK_FLAGS = "task_struct" . "flags";
    TASK_COMM = "task_struct" . "comm";
    TASK_START_TIME = "task_struct" . "start_time";
    TASK_GROUP_LEADER = "task_struct" . "group_leader";
    TASK_REAL_PARENT = "task_struct" . "real_parent";
    TASK_SIGNAL = "task_struct" . "signal";
    TASK_SIGHAND = "task_struct" . "sighand";
    TASK_BLOCKED = "task_struct" . "blocked";
    TASK_REAL_BLOCKED = "task_struct" . "real_blocked";
    TASK_CGROUPS = "task_struct" . "cgroups";
    TASK_THREAD_PID = "task_struct" . "thread_pid";
    TASK_STATE = "task_struct" . "__state";
    TASK_THREAD_NODE = "task_struct" . "thread_node";
    TASK_CHILDREN = "task_struct" . "children";
    TASK_SIBLING = "task_struct" . "sibling";
    TASK_BUSY = "task_struct" . "se" . "avg" . "runnable_avg";
    TASK_FILES = "task_struct" . "files";
    FILES_TABLE = "files_struct" . "fdt";
    TABLE_FILES = "fdtable" . "fd";
    TABLE_SIZE = "fdtable" . "max_fds";
    FILE_INODE = "file" . "f_inode";
    FILE_PRIVATE = "file" . "private_data";
    INODE_MODE = "inode" . "i_mode";
    TASK_EXIT_CODE = "task_struct" . "exit_code";
    SIGNAL_THREAD_HEAD = "signal_struct" . "thread_head";
    SIGNAL_LIVE = "signal_struct" . "live";
    SIGNAL_FLAGS = "signal_struct" . "flags";
    SIGNAL_GROUP_EXIT_CODE = "signal_struct" . "group_exit_code";
    SIGHAND_ACTION = "sighand_struct" . "action";
    CSS_SET_DFL_CGRP = "css_set" . "dfl_cgrp";
    CGROUP_KN = "cgroup" . "kn";
    CGROUP_ROOT = "cgroup" . "root";
    CGROUP_ROOT_HIERARCHY_ID = "cgroup_root" . "hierarchy_id";
    KERNFS_NODE_ID = "kernfs_node" . "id";
    PID_LEVEL = "pid" . "level";
    PID_NUMBERS = "pid" . "numbers";
    SKB_HEAD = "sk_buff" . "head";
    SKB_TRANSPORT_HEADER = "sk_buff" . "transport_header";
    SKB_NETWORK_HEADER = "sk_buff" . "network_header";
    SOCK_RECEIVE_QUEUE = "sock" . "sk_receive_queue";
    SKB_END = "sk_buff" . "end";
    SKB_DATA_LEN = "sk_buff" . "data_len";
    SKB_CB = "sk_buff" . "cb";
    SHARED_COUNT = "skb_shared_info" . "nr_frags";
    SHARED_FRAGMENTS = "skb_shared_info" . "frags";
    SKB_LEN = "sk_buff" . "len";
    SKB_DATA = "sk_buff" . "data";
    SKB_DEV = "sk_buff" . "dev";
    DEV_NET = "net_device" . "nd_net" . "net";
    MPTCP_RECEIVED = "mptcp_sock" . "bytes_received";
    MPTCP_SENT = "mptcp_sock" . "bytes_sent";
    MPTCP_ACKED = "mptcp_sock" . "bytes_acked";
    SOCKET_SK = "socket" . "sk";
}

/// Members without which the programs tell less; all others are required.
pub const OPTIONAL: [usize; 6] = [
    SOCK_CGROUP,
    TCP_LAST_RECEIVED,
    TASK_BUSY,
    MPTCP_RECEIVED,
    MPTCP_SENT,
    MPTCP_ACKED,
];
