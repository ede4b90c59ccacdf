//! The alerts that everything here reads: of the shape and size of a rule with references and metadata (1.4 KB), each unlike every other. Owns
//! their text; must not know what is made of them.
use atio_schemas::Timestamp;
use std::fmt::Write;

/// 2026-11-24T02:00:00Z in microseconds.
const BEGAN: i64 = 1_795_485_600_000_000;

/// The n-th alert; the time is part of the number.
pub fn alert(n: u64) -> String {
    alert_at(n, Timestamp(BEGAN + i64::try_from(n).unwrap_or(0) * 7))
}

/// The n-th alert, raised at this time: 400 rules, 200 assets, 250 attackers.
pub fn alert_at(n: u64, at: Timestamp) -> String {
    let time = at.rfc3339_micros();
    let time = time.trim_end_matches('Z');
    let (attacker, asset, port) = (n % 250, n / 250 % 200, 1024 + n % 60_000);
    let mut out = String::with_capacity(1536);
    let written = write!(
        out,
        r#"{{"timestamp":"{time}+0000","flow_id":{flow},"in_iface":"eth0","event_type":"alert","src_ip":"203.0.113.{attacker}","src_port":{port},"dest_ip":"10.7.0.{asset}","dest_port":80,"proto":"TCP","pkt_src":"wire/pcap","community_id":"1:LQU9qZlK+B5F3KDmev6m5PMibrg=","tx_id":0,"alert":{{"action":"allowed","gid":1,"signature_id":{rule},"rev":3,"signature":"ATIO BENCH Web Server OGNL Remote Code Execution Attempt (CVE-2017-5638)","category":"Attempted Administrator Privilege Gain","severity":1,"metadata":{{"affected_product":["Apache_Struts2"],"attack_target":["Server"],"created_at":["2017_03_08"],"cve":["CVE_2017_5638"],"deployment":["Perimeter"],"mitre_tactic_id":["TA0001"],"mitre_tactic_name":["Initial_Access"],"mitre_technique_id":["T1190"],"mitre_technique_name":["Exploit_Public_Facing_Application"],"signature_severity":["Major"],"updated_at":["2019_09_28"]}}}},"http":{{"hostname":"www.example{host}.com","url":"/showcase/index.action?id={n}","http_user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","http_content_type":"text/html","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":2814}},"app_proto":"http","direction":"to_server","flow":{{"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":1105,"bytes_toclient":3312,"start":"{time}+0000","src_ip":"203.0.113.{attacker}","dest_ip":"10.7.0.{asset}","src_port":{port},"dest_port":80}}}}"#,
        flow = 1_000_000_000_000 + n,
        rule = 9_024_000 + n % 400,
        host = n % 97,
    );
    debug_assert!(written.is_ok());
    out
}
