//! DNS checks against a name server on loopback that plays every answer.

use super::super::testing::{self, run, run_within};
use super::*;
use hickory_resolver::proto::{
    op::{Message, OpCode},
    rr::{
        Record,
        rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT},
    },
};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

#[test]
fn the_config_is_read() {
    testing::example(&KIND);
    testing::problems(
        &KIND,
        &[
            ("dns = \"https://example.com\"", "write the bare name"),
            ("dns = \"example.com:53\"", "write the bare name"),
            ("dns = \"a..b\"", "is no domain name"),
            ("dns = \"\"", "`dns` is empty"),
            ("dns = \"x.example\"\ntype = \"a\"", "`type` can't be \"a\""),
            ("dns = \"x.example\"\nserver = \"ns.example\"", "`ns.example` is no IP address of a name server"),
            ("dns = \"x.example\"\nexpect_match = \"any\"", "`expect_match` needs `expect`"),
            ("dns = \"x.example\"\nmin_answers = -1", "must be from 0"),
        ],
    );
    for (text, shown) in [
        ("1.2.3.4", "1.2.3.4:53"),
        ("1.2.3.4:5353", "1.2.3.4:5353"),
        ("::1", "[::1]:53"),
        ("[::1]", "[::1]:53"),
        ("[::1]:5353", "[::1]:5353"),
    ] {
        assert_eq!(parse_server(text).unwrap().to_string(), shown);
    }
    for (record_type, text, expect) in [
        (RecordType::MX, "10  Mail.Example.com.", "10 mail.example.com"),
        (RecordType::AAAA, "2001:DB8:0:0::1", "2001:db8::1"),
        (RecordType::TXT, "\"v=spf1 -ALL\"", "v=spf1 -ALL"),
        (RecordType::TXT, "\"k=rsa; p=MII\" \"AQAB\"", "k=rsa; p=MIIAQAB"),
        (RecordType::TXT, "\"say \\\"hi\\\"\" \"\\195\\182\\255\"", "say \"hi\"ö\\255"),
        (RecordType::TXT, "\"cut off", "\"cut off"),
        (RecordType::TXT, "\"one\" two", "\"one\" two"),
    ] {
        assert_eq!(normal(record_type, text), expect);
    }
}

/// A name server on UDP and TCP that ends with the test.
struct NameServer {
    address: SocketAddr,
    queries: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

async fn name_server() -> NameServer {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let queries = Arc::new(AtomicUsize::new(0));
    let counted = queries.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((n, from)) = udp.recv_from(&mut buffer).await {
            counted.fetch_add(1, Ordering::Relaxed);
            if let Some(answer) = respond(&buffer[..n], true) {
                let _ = udp.send_to(&answer, from).await;
            }
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                if stream.read_exact(&mut query).await.is_err() {
                    break;
                }
                let Some(answer) = respond(&query, false) else { break };
                let _ = stream.write_u16(u16::try_from(answer.len()).unwrap()).await;
                let _ = stream.write_all(&answer).await;
            }
        }
    });
    NameServer { address, queries, _tasks: tasks }
}

/// What the server knows, by the first label of the name.
fn respond(query: &[u8], udp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let asked = question.name().clone();
    let first = String::from_utf8_lossy(asked.iter().next().unwrap_or_default()).to_lowercase();
    let mut answer = Message::response(query.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.metadata.recursion_desired = true;
    answer.add_query(question.clone());
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let mut add = |data: RData| {
        answer.add_answer(Record::from_rdata(asked.clone(), 60, data));
    };
    match (first.as_str(), question.query_type()) {
        ("silent", _) => return None,
        ("garbage", _) => return Some(vec![1, 2, 3]),
        ("nx", _) => answer.metadata.response_code = ResponseCode::NXDomain,
        ("servfail", _) => answer.metadata.response_code = ResponseCode::ServFail,
        ("refused", _) => answer.metadata.response_code = ResponseCode::Refused,
        ("big", _) if udp => answer.metadata.truncation = true,
        ("big", _) => (0..60).for_each(|i| add(RData::A(A::new(10, 0, 0, i)))),
        ("alias", RecordType::A) => {
            add(RData::CNAME(CNAME(name("www.example."))));
            answer.add_answer(Record::from_rdata(name("www.example."), 60, RData::A(A::new(192, 0, 2, 7))));
        }
        ("short", RecordType::A) => add(RData::CNAME(CNAME(name("www.example.")))),
        ("circle", RecordType::A) => add(RData::CNAME(CNAME(name("circle.example.")))),
        ("alias", RecordType::CNAME) => add(RData::CNAME(CNAME(name("WWW.example.")))),
        (_, RecordType::A) => {
            add(RData::A(A::new(192, 0, 2, 2)));
            add(RData::A(A::new(192, 0, 2, 1)));
        }
        ("www", RecordType::AAAA) => add(RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
        (_, RecordType::MX) => add(RData::MX(MX::new(10, name("Mail.example.")))),
        (_, RecordType::NS) => add(RData::NS(NS(name("ns.example.")))),
        (_, RecordType::TXT) => add(RData::TXT(TXT::new(vec!["v=spf1 ".to_owned(), "-All".to_owned()]))),
        (_, RecordType::SOA) => add(RData::SOA(SOA::new(name("ns.example."), name("root.example."), 7, 1, 2, 3, 4))),
        (_, RecordType::SRV) => add(RData::SRV(SRV::new(1, 2, 443, name("www.example.")))),
        (_, RecordType::PTR) => add(RData::PTR(PTR(name("host.example.")))),
        _ => {}
    }
    Some(answer.to_vec().unwrap())
}

/// Names that exist, with every type, and what is wrong with each kind of answer.
#[tokio::test]
async fn answers_are_judged() {
    let server = name_server().await;
    for (lines, expect) in [
        ("dns = \"www.example\"", None),
        ("dns = \"www.example\"\nexpect = [\"192.0.2.1\", \"192.0.2.2\"]\nexpect_match = \"exact\"", None),
        ("dns = \"www.example\"\nexpect = \"192.0.2.1\"", None),
        ("dns = \"www.example\"\nexpect = [\"192.0.2.9\", \"192.0.2.1\"]\nexpect_match = \"any\"", None),
        ("dns = \"alias.example\"\nexpect = \"192.0.2.7\"\nexpect_match = \"exact\"", None),
        ("dns = \"alias.example\"\ntype = \"CNAME\"\nexpect = \"www.example.\"", None),
        ("dns = \"www.example\"\ntype = \"AAAA\"\nexpect = \"2001:DB8::0:1\"", None),
        ("dns = \"example\"\ntype = \"MX\"\nexpect = \"10 mail.example.\"", None),
        ("dns = \"example\"\ntype = \"NS\"\nexpect = \"ns.example\"", None),
        ("dns = \"example\"\ntype = \"TXT\"\nexpect = \"v=spf1 -All\"", None),
        ("dns = \"example\"\ntype = \"SOA\"\nexpect = \"ns.example root.example 7 1 2 3 4\"", None),
        ("dns = \"_x._tcp.example\"\ntype = \"SRV\"\nexpect = \"1 2 443 www.example\"", None),
        ("dns = \"192.0.2.1\"\nexpect = \"host.example\"", None),
        ("dns = \"2001:db8::1\"\nexpect = \"host.example\"", None),
        ("dns = \"big.example\"\nmin_answers = 60", None),
        ("dns = \"nx.example\"\nmin_answers = 0", None),
        // Names that the library would answer itself, without asking anybody.
        ("dns = \"db.localhost\"\nexpect = \"192.0.2.1\"", None),
        ("dns = \"www.invalid\"\nexpect = \"192.0.2.1\"", None),
        ("dns = \"www.onion\"\nexpect = \"192.0.2.1\"", None),
        ("dns = \"127.0.0.1\"\nexpect = \"host.example\"", None),
        ("dns = \"nx.localhost\"", Some("`nx.localhost` A does not exist (NXDOMAIN)")),
        // A server that gives the alias alone is asked for what it names; one that goes round in circles is left.
        ("dns = \"short.example\"\nexpect = \"192.0.2.1\"", None),
        ("dns = \"circle.example\"", Some("has no answers")),
        ("dns = \"example\"\ntype = \"TXT\"\nexpect = '\"v=spf1\" \" -All\"'", None),
        ("dns = \"nx.example\"", Some("`nx.example` A does not exist (NXDOMAIN), says the name server 127.0.0.1:")),
        ("dns = \"other.example\"\ntype = \"AAAA\"", Some("`other.example` AAAA exists, but has no such records")),
        ("dns = \"www.example\"\nmin_answers = 3", Some("has 2 answers, expected at least 3: 192.0.2.1, 192.0.2.2")),
        ("dns = \"www.example\"\nexpect = \"192.0.2.9\"", Some("is 192.0.2.1, 192.0.2.2, and 192.0.2.9 is missing")),
        (
            "dns = \"www.example\"\nexpect = [\"192.0.2.8\", \"192.0.2.9\"]\nexpect_match = \"any\"",
            Some("is 192.0.2.1, 192.0.2.2, expected any of 192.0.2.8, 192.0.2.9"),
        ),
        (
            "dns = \"www.example\"\nexpect = \"192.0.2.1\"\nexpect_match = \"exact\"",
            Some("and 192.0.2.2 is not expected"),
        ),
        (
            "dns = \"www.example\"\nexpect = \"192.0.2.9\"\nexpect_match = \"exact\"",
            Some("is 192.0.2.1, 192.0.2.2, expected 192.0.2.9"),
        ),
        ("dns = \"example\"\ntype = \"TXT\"\nexpect = \"v=spf1 -all\"", Some("v=spf1 -all is missing")),
        ("dns = \"big.example\"\nexpect = \"10.0.0.99\"", Some("and 50 more, and 10.0.0.99 is missing")),
    ] {
        let outcome = run(&KIND, &format!("{lines}\nserver = \"{}\"", server.address)).await;
        match expect {
            None => assert!(outcome.findings.is_empty(), "{lines}: {outcome:?}"),
            Some(part) => assert!(outcome.findings[0].message.contains(part), "{lines}: {outcome:?}"),
        }
        assert!(!outcome.inconclusive && outcome.findings.iter().all(|f| f.part.is_none() && f.escalates));
        let names: Vec<_> = outcome.metrics.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["time", "answers"]);
    }
}

/// A server that fails is not a name that does not exist.
#[tokio::test]
async fn servers_that_fail_are_told_apart() {
    let server = name_server().await;
    let nobody = SocketAddr::from(([127, 0, 0, 1], testing::nobody().await.port()));
    for (name, address, expect) in [
        ("servfail", server.address, "answered `servfail.example` A with SERVFAIL; it could not find out"),
        ("refused", server.address, "answered `refused.example` A with REFUSED; it does not serve this machine"),
        ("silent", server.address, "no answer from the name server 127.0.0.1:"),
        ("www", nobody, "the name server 127.0.0.1:"),
    ] {
        let config = format!("dns = \"{name}.example\"\nserver = \"{address}\"");
        let outcome = run_within(&KIND, &config, Duration::from_secs(2)).await;
        let message = &outcome.findings[0].message;
        assert!(message.contains(expect), "{name}: {message}");
        assert!(outcome.inconclusive && outcome.findings[0].part.is_none() && outcome.findings[0].escalates);
    }
    let config = format!("dns = \"garbage.example\"\nserver = \"{}\"", server.address);
    assert_eq!(run_within(&KIND, &config, Duration::from_secs(1)).await.findings.len(), 1);
}

/// Each run asks anew.
#[tokio::test]
async fn nothing_is_cached() {
    let server = name_server().await;
    let program = testing::read(&KIND, &format!("dns = \"www.example\"\nserver = \"{}\"", server.address)).unwrap();
    for n in 1..=3 {
        testing::run_program(&*program, Duration::from_secs(5)).await;
        assert!(server.queries.load(Ordering::Relaxed) >= n);
    }
}

/// A lost packet is asked for again, within the limit.
#[tokio::test]
async fn a_lost_packet_is_asked_for_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        for lost in [true, false] {
            let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
            if !lost {
                socket.send_to(&respond(&buffer[..n], true).unwrap(), from).await.unwrap();
            }
        }
    });
    let config = format!("dns = \"www.example\"\nserver = \"{address}\"");
    let outcome = run_within(&KIND, &config, Duration::from_secs(4)).await;
    assert!(outcome.findings.is_empty(), "{outcome:?}");
    server.await.unwrap();
}

/// Without `server` the machine's own are asked; whatever they say here, the run ends and says it.
#[tokio::test]
async fn the_machines_name_servers_are_asked() {
    let outcome = run_within(&KIND, "dns = \"no-such-name.invalid\"", Duration::from_secs(2)).await;
    assert_eq!(outcome.findings.len(), 1, "{outcome:?}");
}
