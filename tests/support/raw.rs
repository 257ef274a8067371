//! Tokens as nobody who means well would write them: with the Biscuit library itself, or by hand.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::{
    Algorithm, Biscuit, BiscuitBuilder, BlockBuilder, KeyPair,
    format::schema::{self, ExternalSignature, SignedBlock},
};
use hallpass_core::{
    base::key::{PrivateKey, PublicKey},
    token::{PassToken, UnverifiedPass},
};
use prost::Message as _;

use super::Issuer;

pub fn bytes(token: &PassToken) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.expose()).unwrap()
}

pub fn token(bytes: impl AsRef<[u8]>) -> PassToken {
    PassToken::from_text(URL_SAFE_NO_PAD.encode(bytes))
}

pub fn wire(token: &PassToken) -> schema::Biscuit {
    schema::Biscuit::decode(bytes(token).as_slice()).unwrap()
}

pub fn from_wire(wire: &schema::Biscuit) -> PassToken {
    token(wire.encode_to_vec())
}

pub fn biscuit(pass: &PassToken, root: &PublicKey) -> Biscuit {
    let key = biscuit_auth::PublicKey::from_bytes(root.as_bytes(), Algorithm::Ed25519).unwrap();
    Biscuit::from(bytes(pass), key).unwrap()
}

pub fn key_pair(seed: u8) -> KeyPair {
    KeyPair::from(&biscuit_auth::PrivateKey::from_bytes(&[seed; 32], Algorithm::Ed25519).unwrap())
}

/// A token signed by the issuer's root key that says exactly `code`.
pub fn mint(issuer: &Issuer, code: &str) -> PassToken {
    let builder = BiscuitBuilder::new()
        .root_key_id(issuer.root.id().0)
        .code(code)
        .unwrap();
    token(builder.build(&key_pair(1)).unwrap().to_vec().unwrap())
}

/// Appends a first-party block of Datalog text, as any holder can.
pub fn append(pass: &PassToken, root: &PublicKey, code: &str) -> PassToken {
    append_block(pass, root, BlockBuilder::new().code(code).unwrap())
}

pub fn append_block(pass: &PassToken, root: &PublicKey, block: BlockBuilder) -> PassToken {
    token(biscuit(pass, root).append(block).unwrap().to_vec().unwrap())
}

/// Appends a third-party block of Datalog text signed by `signer`.
pub fn append_third_party(
    pass: &PassToken,
    root: &PublicKey,
    signer: &KeyPair,
    code: &str,
) -> PassToken {
    let biscuit = biscuit(pass, root);
    let block = BlockBuilder::new().code(code).unwrap();
    let signed = biscuit
        .third_party_request()
        .unwrap()
        .create_block(&signer.private(), block)
        .unwrap();
    token(
        biscuit
            .append_third_party(signer.public(), signed)
            .unwrap()
            .to_vec()
            .unwrap(),
    )
}

pub fn seal(pass: &PassToken, root: &PublicKey) -> PassToken {
    token(biscuit(pass, root).seal().unwrap().to_vec().unwrap())
}

/// A block that checks nothing, in the version of Datalog that biscuit-auth writes now.
pub fn empty_block() -> schema::Block {
    schema::Block {
        version: Some(6),
        ..schema::Block::default()
    }
}

/// Signs `block` with the secret that every unsealed token carries and appends it: the most that a
/// holder can do. `next` is the next key as the block names it.
pub fn append_signed(
    pass: &PassToken,
    block: &schema::Block,
    next: schema::PublicKey,
    secret: &[u8],
) -> PassToken {
    let mut wire = wire(pass);
    let previous = wire
        .blocks
        .last()
        .unwrap_or(&wire.authority)
        .signature
        .clone();
    let Some(schema::proof::Content::NextSecret(holder)) = wire.proof.content else {
        panic!("sealed")
    };
    let data = block.encode_to_vec();
    let mut payload = b"\0BLOCK\0\0VERSION\0".to_vec();
    payload.extend(1_u32.to_le_bytes());
    payload.extend(b"\0PAYLOAD\0");
    payload.extend(&data);
    payload.extend(b"\0ALGORITHM\0");
    payload.extend(next.algorithm.to_le_bytes());
    payload.extend(b"\0NEXTKEY\0");
    payload.extend(&next.key);
    payload.extend(b"\0PREVSIG\0");
    payload.extend(previous);
    let signature = PrivateKey::from_seed(&holder.try_into().unwrap())
        .sign(&payload)
        .to_vec();
    let block = SignedBlock {
        block: data,
        next_key: next,
        signature,
        external_signature: None,
        version: Some(1),
    };
    wire.blocks.push(block);
    wire.proof.content = Some(schema::proof::Content::NextSecret(secret.to_vec()));
    from_wire(&wire)
}

/// [`append_signed`] with a proper next key.
pub fn append_by_hand(pass: &PassToken, block: &schema::Block) -> PassToken {
    let next = PrivateKey::from_seed(&[77; 32]);
    append_signed(
        pass,
        block,
        ed25519(&next.public()),
        next.dangerous_seed().as_slice(),
    )
}

pub fn ed25519(key: &PublicKey) -> schema::PublicKey {
    schema::PublicKey {
        algorithm: 0,
        key: key.as_bytes().to_vec(),
    }
}

pub fn external(key: &PublicKey, signature: &[u8]) -> ExternalSignature {
    ExternalSignature {
        signature: signature.to_vec(),
        public_key: ed25519(key),
    }
}

/// What the profile says: the rule that the token breaks.
pub fn profile_rule(pass: &PassToken) -> Result<(), String> {
    UnverifiedPass::parse(pass.expose())
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// The verifier's part as Datalog, from `docs/token-format.md`: for asking the library itself.
pub const VERIFIER: &str = r#"
    check if aud($a), me($m), $a.contains($m);
    check if call($s, $k, $n), me($s);
    allow if hallpass(1), call($s, $k, $n), right($s, $k, $set), $set.contains($n);
    allow if hallpass(1), call($s, $k, $n), call_path($seg), right_path($s, $k, $pre), $seg.starts_with($pre);
    deny if true;
"#;
