//! Encoding: block 0 straight into its wire form, and its signature.
//!
//! biscuit-auth's builder goes through two more representations and decodes its own result again,
//! which costs more than the signature does. The library reads this encoding back whenever a pass
//! is verified, and a test compares it with the builder's output.

use biscuit_auth::{
    builder::{Binary, Check, CheckKind, Fact, Op, Predicate, Rule, Term, Unary},
    datalog::SymbolTable,
    format::schema::{self, op, op_binary, op_unary, term},
};
use prost::Message as _;
use zeroize::Zeroize as _;

use crate::{
    base::ids::RevocationId,
    token::{MintError, RootKey, signer::Signer},
};

/// Block 0 in its wire form, while it is being written.
pub(super) struct Writer {
    symbols: SymbolTable,
    block: schema::Block,
}

impl Writer {
    pub(super) fn new() -> Self {
        let block = schema::Block {
            version: Some(DATALOG_3_3),
            ..schema::Block::default()
        };
        Self {
            symbols: SymbolTable::new(),
            block,
        }
    }

    pub(super) fn fact(&mut self, fact: &Fact) -> Result<(), MintError> {
        let predicate = self.predicate(&fact.predicate)?;
        self.block.facts.push(schema::Fact { predicate });
        Ok(())
    }

    pub(super) fn check(&mut self, check: &Check) -> Result<(), MintError> {
        let kind = match check.kind {
            CheckKind::One => None,
            CheckKind::All => Some(1),
            CheckKind::Reject => return Err(MintError::Engine),
        };
        let queries = check
            .queries
            .iter()
            .map(|query| self.query(query))
            .collect::<Result<_, _>>()?;
        self.block.checks.push(schema::Check { queries, kind });
        Ok(())
    }

    /// Signs the block with `root`: the token's bytes and the block's id.
    pub(super) fn sign(mut self, root: &RootKey) -> Result<(Vec<u8>, RevocationId), MintError> {
        self.block.symbols = self.symbols.strings();
        let block = self.block.encode_to_vec();
        let (next, seed) = Signer::generate().ok_or(MintError::Engine)?;
        let next_key = next.public().ok_or(MintError::Engine)?;
        let signature = root
            .signer()
            .sign(&signature_payload(&block, &next_key))
            .ok_or(MintError::Engine)?;
        let next_key = schema::PublicKey {
            algorithm: ED25519,
            key: next_key.to_vec(),
        };
        let signed = schema::SignedBlock {
            block,
            next_key,
            signature: signature.to_vec(),
            external_signature: None,
            version: Some(PAYLOAD_VERSION),
        };
        let mut token = schema::Biscuit {
            root_key_id: Some(root.id().0),
            authority: signed,
            blocks: Vec::new(),
            proof: schema::Proof {
                content: Some(schema::proof::Content::NextSecret(seed.to_vec())),
            },
        };
        let bytes = token.encode_to_vec();
        if let Some(schema::proof::Content::NextSecret(secret)) = &mut token.proof.content {
            secret.zeroize();
        }
        Ok((bytes, RevocationId::from_bytes(signature)))
    }

    fn query(&mut self, query: &Rule) -> Result<schema::Rule, MintError> {
        if !query.scopes.is_empty() {
            return Err(MintError::Engine);
        }
        let head = self.predicate(&query.head)?;
        let body = query
            .body
            .iter()
            .map(|predicate| self.predicate(predicate))
            .collect::<Result<_, _>>()?;
        let expressions = query
            .expressions
            .iter()
            .map(|expression| self.ops(&expression.ops));
        let expressions = expressions
            .map(|ops| ops.map(|ops| schema::Expression { ops }))
            .collect::<Result<_, _>>()?;
        Ok(schema::Rule {
            head,
            body,
            expressions,
            scope: Vec::new(),
        })
    }

    fn predicate(&mut self, predicate: &Predicate) -> Result<schema::Predicate, MintError> {
        let name = self.symbols.insert(&predicate.name);
        let terms = predicate
            .terms
            .iter()
            .map(|term| self.term(term))
            .collect::<Result<_, _>>()?;
        Ok(schema::Predicate { name, terms })
    }

    fn ops(&mut self, ops: &[Op]) -> Result<Vec<schema::Op>, MintError> {
        ops.iter()
            .map(|op| {
                self.op(op).map(|content| schema::Op {
                    content: Some(content),
                })
            })
            .collect()
    }

    fn op(&mut self, op: &Op) -> Result<op::Content, MintError> {
        Ok(match op {
            Op::Value(term) => op::Content::Value(self.term(term)?),
            Op::Unary(unary) => {
                let kind = match unary {
                    Unary::Negate => op_unary::Kind::Negate,
                    Unary::Parens => op_unary::Kind::Parens,
                    _ => return Err(MintError::Engine),
                };
                op::Content::Unary(schema::OpUnary {
                    kind: kind.into(),
                    ffi_name: None,
                })
            }
            Op::Binary(binary) => {
                let kind = match binary {
                    Binary::LessThan => op_binary::Kind::LessThan,
                    Binary::LessOrEqual => op_binary::Kind::LessOrEqual,
                    Binary::GreaterOrEqual => op_binary::Kind::GreaterOrEqual,
                    Binary::Equal => op_binary::Kind::Equal,
                    Binary::Contains => op_binary::Kind::Contains,
                    Binary::Prefix => op_binary::Kind::Prefix,
                    Binary::LazyAnd => op_binary::Kind::LazyAnd,
                    _ => return Err(MintError::Engine),
                };
                op::Content::Binary(schema::OpBinary {
                    kind: kind.into(),
                    ffi_name: None,
                })
            }
            Op::Closure(params, ops) if params.is_empty() => {
                op::Content::Closure(schema::OpClosure {
                    params: Vec::new(),
                    ops: self.ops(ops)?,
                })
            }
            Op::Closure(..) => return Err(MintError::Engine),
        })
    }

    fn term(&mut self, term: &Term) -> Result<schema::Term, MintError> {
        let content = match term {
            Term::Variable(name) => {
                let index =
                    u32::try_from(self.symbols.insert(name)).map_err(|_| MintError::Engine)?;
                term::Content::Variable(index)
            }
            Term::Integer(value) => term::Content::Integer(*value),
            Term::Str(text) => term::Content::String(self.symbols.insert(text)),
            Term::Date(seconds) => term::Content::Date(*seconds),
            Term::Bool(value) => term::Content::Bool(*value),
            Term::Set(terms) => {
                let set = terms
                    .iter()
                    .map(|term| self.term(term))
                    .collect::<Result<_, _>>()?;
                term::Content::Set(schema::TermSet { set })
            }
            Term::Array(terms) => {
                let array = terms
                    .iter()
                    .map(|term| self.term(term))
                    .collect::<Result<_, _>>()?;
                term::Content::Array(schema::Array { array })
            }
            _ => return Err(MintError::Engine),
        };
        Ok(schema::Term {
            content: Some(content),
        })
    }
}

/// The bytes that a root key signs: the payload of version 1 of the Biscuit specification.
fn signature_payload(block: &[u8], next_key: &[u8; 32]) -> Vec<u8> {
    [
        b"\0BLOCK\0\0VERSION\0",
        &PAYLOAD_VERSION.to_le_bytes()[..],
        b"\0PAYLOAD\0",
        block,
        b"\0ALGORITHM\0",
        &ED25519.to_le_bytes(),
        b"\0NEXTKEY\0",
        next_key,
    ]
    .concat()
}

const PAYLOAD_VERSION: u32 = 1;
const ED25519: i32 = 0;
/// The block version of Datalog 3.3.
const DATALOG_3_3: u32 = 6;
