//! The vectors' documents, and what is expected of them.

use hallpass_broker::ledger::audit::{ExportStatement, Statement, TreeHead};
use hallpass_core::{
    base::{digest::Digest, format::Format, jws, key::PrivateKey},
    wire::document::{Frame, KeyLink},
};
use serde_json::{Value, json};

use support::{ISSUER, SERVER};

use super::{
    setup::{OBJECTS, TASK, frame, key, key_document, pass, path, revocation, signed, time, with},
    vectors::{File, Reader, Vector, sign_text},
};

/// Every file, by its name.
pub fn all() -> Vec<(&'static str, File)> {
    vec![
        ("frames", frames()),
        ("keys", keys()),
        ("state", state()),
        ("reports", reports()),
        ("heads", heads()),
        ("exports", exports()),
    ]
}

/// A kind of document: how a payload becomes one, and what each payload is expected to lead to.
struct Book<'a> {
    seal: &'a dyn Fn(&Value) -> String,
    /// What the reader knows after a refusal.
    otherwise: Value,
    vectors: Vec<Vector>,
}

impl<'a> Book<'a> {
    fn new(seal: &'a dyn Fn(&Value) -> String, otherwise: Value) -> Self {
        let vectors = Vec::new();
        Self {
            seal,
            otherwise,
            vectors,
        }
    }

    fn accepted(&mut self, (name, about): (&str, &str), payload: &Value, then: &Value) {
        self.vectors.push(Vector {
            name: name.to_owned(),
            about: about.to_owned(),
            document: (self.seal)(payload),
            expected: json!({"answer": "accepted"}),
            then: then.clone(),
        });
    }

    fn refused(&mut self, (name, about): (&str, &str), payload: &Value, expected: Value) {
        let document = (self.seal)(payload);
        self.refused_text((name, about), document, expected);
    }

    fn refused_text(&mut self, (name, about): (&str, &str), document: String, expected: Value) {
        self.vectors.push(Vector {
            name: name.to_owned(),
            about: about.to_owned(),
            document,
            expected,
            then: self.otherwise.clone(),
        });
    }

    /// What holds for every kind of document: `plain` leads to `then`, and has `objects`.
    fn common(&mut self, plain: &Value, objects: &[&str], then: &Value) {
        self.accepted(("plain", "As this build writes it."), plain, then);
        let mut later = plain.clone();
        for pointer in objects {
            let at = place(pointer);
            let more = json!({"later": [{"crit": ["x"], "v": 9}]});
            let payload = with(plain.clone(), pointer, more.clone());
            let about =
                "One member more than this build knows; what is in it is nobody's business.";
            self.accepted((&format!("one_member_more_in_{at}"), about), &payload, then);
            later = with(later, pointer, more);
            let critical = with(payload, pointer, json!({"crit": ["later"]}));
            let about = "A member that must be understood, and this build does not know it.";
            let expected = json!({"answer": "critical", "member": path(pointer, "later")});
            self.refused(
                (&format!("unknown_crit_in_{at}"), about),
                &critical,
                expected,
            );
            let object = plain.pointer(pointer).unwrap().as_object().unwrap();
            if !object.is_empty() {
                let names: Vec<_> = object.keys().collect();
                let payload = with(plain.clone(), pointer, json!({ "crit": names }));
                let about = "`crit` names every member there is, and all are known.";
                self.accepted((&format!("known_crit_in_{at}"), about), &payload, then);
            }
        }
        let about = "Older reader, newer writer: one member more in every object.";
        self.accepted(("older_reader_newer_writer", about), &later, then);
        let with_crit = |crit: Value| with(plain.clone(), "", json!({"crit": crit, "later": 1}));
        let member = plain.as_object().unwrap().keys().next().unwrap();
        for (name, about, crit) in [
            ("crit_empty", "An empty list.", json!([])),
            ("crit_twice", "A name twice.", json!([member, member])),
            (
                "crit_absent",
                "A member that is not there.",
                json!(["absent"]),
            ),
            ("crit_itself", "`crit` itself.", json!(["crit"])),
            ("crit_no_list", "No list.", json!(member)),
            ("crit_no_names", "No names.", json!([1])),
            ("crit_null", "Nothing.", json!(null)),
        ] {
            let unreadable = json!({"answer": "unreadable"});
            self.refused((name, about), &with_crit(crit), unreadable);
        }
        let mixed = with_crit(json!([member, "later"]));
        let expected = json!({"answer": "critical", "member": "later"});
        self.refused(
            ("crit_mixed", "A known and an unknown member."),
            &mixed,
            expected,
        );
    }

    /// Of a document whose format must be this one: `v` in the object at `pointer`.
    fn formats(&mut self, plain: &Value, pointer: &str) {
        let at = place(pointer);
        for (name, about, v, expected) in [
            (
                "too_new",
                "A later format.",
                json!(2),
                json!({"answer": "format", "found": 2}),
            ),
            (
                "zero",
                "There is no format 0.",
                json!(0),
                json!({"answer": "format", "found": 0}),
            ),
            (
                "text",
                "A format is a number.",
                json!("1"),
                json!({"answer": "unreadable"}),
            ),
        ] {
            let mut payload = with(plain.clone(), pointer, json!({ "v": v }));
            if name == "too_new" {
                // Nothing of a later format is looked at.
                payload = with(payload, pointer, json!({"crit": {"of": "another form"}}));
            }
            self.refused((&format!("v_{name}_in_{at}"), about), &payload, expected);
        }
    }

    fn file(self, about: &str, reader: Reader) -> File {
        File {
            about: about.to_owned(),
            reader,
            vectors: self.vectors,
        }
    }
}

fn place(pointer: &str) -> String {
    match pointer {
        "" => "the_document".to_owned(),
        pointer => pointer.trim_start_matches('/').replace('/', "_"),
    }
}

fn without(mut value: Value, members: &[&str]) -> Value {
    for member in members {
        value.as_object_mut().unwrap().remove(*member).unwrap();
    }
    value
}

fn unreadable() -> Value {
    json!({"answer": "unreadable"})
}

fn thumbprint(byte: u8) -> String {
    key(byte).public().thumbprint()
}

fn frames() -> File {
    let state = |sequence: u64, revocations: u64, decision: Value| {
        json!({
            "epoch": 1, "sequence": sequence, "feed_keys": [thumbprint(2), thumbprint(3)],
            "revocations": revocations, "decision": decision,
            "tools": ["delete_ledger", "read_ledger", "search_ledger", "transfer"],
        })
    };
    let plain = frame(3);
    let mut book = Book::new(&signed, state(2, 1, json!("allow")));
    book.common(&plain, &OBJECTS, &state(3, 1, json!("allow")));
    book.formats(&plain, "");
    book.formats(&plain, "/manifest");
    let names = with(
        plain.clone(),
        "/manifest/tools/transfer",
        json!({"labels": {"crit": "no list", "v": "2"}}),
    );
    let about = "Names of labels are data: `crit` and `v` among them mean nothing.";
    book.accepted(
        ("labels_named_crit_and_v", about),
        &names,
        &state(3, 1, json!("allow")),
    );
    let about = "A tool is called `crit`: names of tools are data.";
    let tool = with(
        plain.clone(),
        "/manifest/tools",
        json!({"crit": {"read_only": true}}),
    );
    let mut then = state(3, 1, json!("allow"));
    then["tools"] = json!([
        "crit",
        "delete_ledger",
        "read_ledger",
        "search_ledger",
        "transfer"
    ]);
    book.accepted(("a_tool_named_crit", about), &tool, &then);
    let about = "A manifest without `v` is of format 1.";
    let mut old = plain.clone();
    old["manifest"].as_object_mut().unwrap().remove("v");
    book.accepted(
        ("manifest_without_v", about),
        &old,
        &state(3, 1, json!("allow")),
    );
    let about = "Newer reader, older writer: the members that a frame must have, and no other.";
    let optional = [
        "keys",
        "feed_keys",
        "manifest",
        "revocations",
        "suspended_holders",
    ];
    let heartbeat = with(without(plain.clone(), &optional), "", json!({"since": 2}));
    book.accepted(
        ("newer_reader_older_writer", about),
        &heartbeat,
        &state(3, 1, json!("allow")),
    );
    let about = "A delta revokes the pass; its entry has a member more, which changes nothing.";
    let mut entry = serde_json::to_value(revocation(TASK)).unwrap();
    entry["later"] = json!("why");
    let delta = with(heartbeat.clone(), "", json!({ "revocations": [entry] }));
    book.accepted(
        ("revoked_with_a_member_more", about),
        &delta,
        &state(3, 2, json!(["revoked_task"])),
    );
    let about = "Without `v`.";
    book.refused(
        ("without_v", about),
        &without(plain.clone(), &["v"]),
        unreadable(),
    );
    let about = "A known member of another form.";
    book.refused(
        ("another_form", about),
        &with(plain, "/revocations/0", json!({"cut_off": 7})),
        unreadable(),
    );
    let about = "A name twice in an object, here in a member that is unknown.";
    let twice = heartbeat
        .to_string()
        .replacen('{', r#"{"later":{"a":1,"a":2},"#, 1);
    book.refused_text(
        ("duplicate", about),
        sign_text(&key(2), Frame::TYP, &twice),
        unreadable(),
    );
    let reader = Reader {
        keys: vec![key(2).public(), key(3).public()],
        before: Some(signed(&frame(2))),
        pass: Some(pass()),
    };
    book.file(
        "Frames for a verifier that has accepted `before`. `then` is its state; `decision` is what comes of the pass and a call of `transfer` with `{\"amount\": 100, \"path\": \"/srv/data/a\"}`.",
        reader,
    )
}

/// From the feed key 2 to 3, with `members` beside.
fn link(members: Value) -> String {
    let link = KeyLink {
        v: Format::One,
        iss: ISSUER.parse().unwrap(),
        old: key(2).public(),
        new: key(3).public(),
    };
    let link = with(serde_json::to_value(link).unwrap(), "", members);
    jws::sign(&key(2), KeyLink::FEED_TYP, None, &link).unwrap()
}

fn keys() -> File {
    let seal = |payload: &Value| payload.to_string();
    let both = json!({"feed_keys": [thumbprint(2), thumbprint(3)]});
    let mut plain = serde_json::to_value(key_document()).unwrap();
    plain["feed_key"] = json!(key(3).public());
    plain["feed_key_chain"] = json!([link(json!({}))]);
    let mut book = Book::new(&seal, Value::Null);
    let objects = ["", "/keys/0", "/keys/0/key", "/feed_key", "/checkpoint_key"];
    book.common(&plain, &objects, &both);
    book.formats(&plain, "");
    let about =
        "Newer reader, older writer: the members that the document must have, and no other.";
    let old = without(plain.clone(), &["checkpoint_key"]);
    book.accepted(("newer_reader_older_writer", about), &old, &both);
    let chained = |members: Value| {
        with(
            plain.clone(),
            "",
            json!({"feed_key_chain": [link(members)]}),
        )
    };
    let about = "A link with a member more.";
    book.accepted(
        ("link_one_member_more", about),
        &chained(json!({"later": 1})),
        &both,
    );
    let about = "A link whose members are all critical.";
    book.accepted(
        ("link_known_crit", about),
        &chained(json!({"crit": ["old", "new", "iss", "v"]})),
        &both,
    );
    let about = "A link that must be understood leads nowhere.";
    let critical = chained(json!({"later": 1, "crit": ["later"]}));
    book.refused(
        ("link_unknown_crit", about),
        &critical,
        json!({"answer": "critical", "member": "later"}),
    );
    let about = "A link of a later format leads nowhere.";
    book.refused(
        ("link_v_too_new", about),
        &chained(json!({"v": 2})),
        json!({"answer": "format", "found": 2}),
    );
    let about = "A link that cannot be read is passed over where the pinned key signs now.";
    let mut unneeded = critical;
    unneeded["feed_key"] = json!(key(2).public());
    book.accepted(
        ("link_unneeded", about),
        &unneeded,
        &json!({"feed_keys": [thumbprint(2)]}),
    );
    let about = "Without `v`.";
    book.refused(
        ("without_v", about),
        &without(plain.clone(), &["v"]),
        unreadable(),
    );
    let about = "A name twice.";
    let twice = plain.to_string().replacen('{', r#"{"v":1,"#, 1);
    book.refused_text(("duplicate", about), twice, unreadable());
    let reader = Reader {
        keys: vec![key(2).public()],
        ..Reader::default()
    };
    book.file("Key documents for a verifier that pins the one key in `keys`. `then` is which feed keys it believes.", reader)
}

fn state() -> File {
    let seal = |payload: &Value| payload.to_string();
    let plain = json!({
        "v": 1, "iss": ISSUER, "aud": SERVER,
        "memory": {"epoch": 1, "sequence": 7, "signed_at": time().unix_millis(), "feed_keys": [key(2).public()]},
    });
    let then = json!({"epoch": 1, "sequence": 7, "signed_at": time().unix_millis(), "feed_keys": [thumbprint(2)]});
    let mut book = Book::new(&seal, Value::Null);
    book.common(&plain, &["", "/memory", "/memory/feed_keys/0"], &then);
    let about = "A file of a later format, after a rollback: what is known is read.";
    let later = with(plain.clone(), "", json!({"v": 2, "later": 1}));
    book.accepted(("v_too_new", about), &later, &then);
    let about = "A file of a later format that forbids that.";
    let forbids = with(later, "", json!({"crit": ["later"]}));
    book.refused(
        ("v_too_new_and_unknown_crit", about),
        &forbids,
        json!({"answer": "critical", "member": "later"}),
    );
    for (name, v) in [
        ("v_zero", json!(0)),
        ("v_text", json!("1")),
        ("v_negative", json!(-1)),
    ] {
        book.refused(
            (name, "No format."),
            &with(plain.clone(), "", json!({ "v": v })),
            unreadable(),
        );
    }
    let about = "Without `v`.";
    book.refused(
        ("without_v", about),
        &without(plain.clone(), &["v"]),
        unreadable(),
    );
    let about = "A name twice.";
    let twice = plain
        .to_string()
        .replace(r#""epoch""#, r#""epoch":9,"epoch""#);
    book.refused_text(("duplicate", about), twice, unreadable());
    book.file("State files of a verifier. `then` is what it remembers; `unreadable` means that it does not start.", Reader::default())
}

fn reports() -> File {
    let seal = |payload: &Value| payload.to_string();
    let id = |n: u32| format!("rpt_{n:032x}");
    let plain = json!({"v": 1, "reports": [
        {
            "type": "call", "id": id(1), "at": time(), "server": SERVER, "decision": {"refused": ["expired"]},
            "call": {"method": "tools/call", "kind": "tool", "name": "read_ledger", "arguments": "0".repeat(64)},
            "task": TASK, "agent": "research-bot", "steward": "stw_00000000000000000000000000000001",
            "chain": ["07".repeat(64), "08".repeat(64)],
            "delegates": [{"block": 1, "agent": "scout", "key": thumbprint(5)}],
            "holder": thumbprint(5),
            "caused_by": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
        {"type": "lost", "id": id(2), "server": SERVER, "count": 3, "from": time(), "to": time()},
    ]});
    let then = json!({"reports": [id(1), id(2)]});
    let mut book = Book::new(&seal, Value::Null);
    let objects = [
        "",
        "/reports/0",
        "/reports/0/call",
        "/reports/0/delegates/0",
        "/reports/1",
    ];
    book.common(&plain, &objects, &then);
    book.formats(&plain, "");
    let about = "A batch without `v` is of format 1.";
    book.accepted(("without_v", about), &without(plain.clone(), &["v"]), &then);
    let about = "Newer reader, older writer: the members that a report must have, and no other.";
    let mut old = plain.clone();
    old["reports"][0] = without(
        old["reports"][0].clone(),
        &["call", "delegates", "holder", "caused_by"],
    );
    old["reports"][1] = without(old["reports"][1].clone(), &["count"]);
    book.accepted(("newer_reader_older_writer", about), &old, &then);
    let about = "A kind of report that is unknown: a writer says it in a later format.";
    book.refused(
        ("unknown_type", about),
        &with(plain.clone(), "/reports/1", json!({"type": "later"})),
        unreadable(),
    );
    let about = "A word that is unknown: a writer says it in a later format.";
    let word = with(
        plain,
        "/reports/0",
        json!({"decision": {"refused": ["later"]}}),
    );
    book.refused(("unknown_word", about), &word, unreadable());
    book.file(
        "Bodies of `POST /v1/decisions`. `then` is which reports the broker takes.",
        Reader::default(),
    )
}

fn head() -> TreeHead {
    TreeHead {
        v: Format::One,
        iss: ISSUER.parse().unwrap(),
        at: time(),
        size: 7,
        root: Digest::of(b"root"),
        hash: Digest::of(b"hash"),
    }
}

fn statement<S: Statement>(signer: &PrivateKey) -> impl Fn(&Value) -> String {
    move |payload| {
        let kid = signer.public().thumbprint();
        jws::sign(signer, S::TYP, Some(&kid), payload).unwrap()
    }
}

fn reader_of_statements() -> Reader {
    Reader {
        keys: vec![key(4).public()],
        ..Reader::default()
    }
}

fn heads() -> File {
    let signer = key(4);
    let seal = statement::<TreeHead>(&signer);
    let plain = serde_json::to_value(head()).unwrap();
    let mut book = Book::new(&seal, Value::Null);
    book.common(&plain, &[""], &json!({"size": 7}));
    book.formats(&plain, "");
    book.refused(
        ("without_v", "Without `v`."),
        &without(plain, &["v"]),
        unreadable(),
    );
    book.file(
        "Signed heads of the audit trail, for whoever trusts the key in `keys`.",
        reader_of_statements(),
    )
}

fn exports() -> File {
    let signer = key(4);
    let seal = statement::<ExportStatement>(&signer);
    let plain = ExportStatement {
        v: Format::One,
        from: 2,
        to: 5,
        head: head(),
    };
    let plain = serde_json::to_value(plain).unwrap();
    let mut book = Book::new(&seal, Value::Null);
    book.common(
        &plain,
        &["", "/head"],
        &json!({"from": 2, "to": 5, "size": 7}),
    );
    book.formats(&plain, "");
    book.formats(&plain, "/head");
    book.refused(
        ("without_v", "Without `v`."),
        &without(plain, &["v"]),
        unreadable(),
    );
    book.file(
        "Signed statements of exports, for whoever trusts the key in `keys`.",
        reader_of_statements(),
    )
}
