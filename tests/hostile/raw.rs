//! Calls below the generated clients: any bytes as messages, any text as frames, and protobuf fields one by one.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};
use tonic::{
    Request, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Service, http},
};
use truc::{client::Client, proto::DESCRIPTORS};

use crate::rig::soon;

/// Sends and receives messages as bytes.
#[derive(Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Every method of the hub's own services, as a path.
pub fn methods() -> Vec<String> {
    let mut methods = Vec::new();
    for file in &descriptors().file {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    assert!(methods.len() > 20, "{methods:?}");
    methods
}

/// Calls a method with these messages and reads all answers.
pub async fn call(client: &Client, path: &str, messages: Vec<Bytes>) -> Result<Vec<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(client.channel());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = Request::new(tokio_stream::iter(messages));
    let path = path.parse().unwrap();
    let mut answers = soon(grpc.streaming(request, path, Raw)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = soon(answers.message()).await? {
        all.push(answer);
    }
    Ok(all)
}

/// Posts a body of frames as they are; the answer's status, wherever it stands.
pub async fn post(client: &Client, path: &str, frames: &str) -> Option<Status> {
    let request = http::Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(frames.to_owned()))
        .unwrap();
    let mut channel = client.channel();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let answer = soon(channel.call(request)).await.unwrap();
    Status::from_header_map(answer.headers())
}

/// A protobuf field as it stands on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
}

pub type Fields = Vec<(u32, Value)>;

pub fn parse(message: &[u8]) -> Fields {
    let mut rest = message;
    let mut fields = Vec::new();
    while rest.has_remaining() {
        let (tag, wire) = decode_key(&mut rest).unwrap();
        let value = match wire {
            WireType::Varint => Value::Varint(decode_varint(&mut rest).unwrap()),
            WireType::SixtyFourBit => Value::Fixed64(rest.get_u64_le()),
            WireType::ThirtyTwoBit => Value::Fixed32(rest.get_u32_le()),
            WireType::LengthDelimited => {
                let len = decode_varint(&mut rest).unwrap() as usize;
                Value::Bytes(rest.copy_to_bytes(len).to_vec())
            }
            _ => panic!("groups are not used"),
        };
        fields.push((tag, value));
    }
    fields
}

pub fn write(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, value) in fields {
        match value {
            Value::Varint(number) => {
                encode_key(*tag, WireType::Varint, &mut out);
                encode_varint(*number, &mut out);
            }
            Value::Fixed64(number) => {
                encode_key(*tag, WireType::SixtyFourBit, &mut out);
                out.put_u64_le(*number);
            }
            Value::Fixed32(number) => {
                encode_key(*tag, WireType::ThirtyTwoBit, &mut out);
                out.put_u32_le(*number);
            }
            Value::Bytes(bytes) => {
                encode_key(*tag, WireType::LengthDelimited, &mut out);
                encode_varint(bytes.len() as u64, &mut out);
                out.put_slice(bytes);
            }
        }
    }
    out
}

/// The message once for each way in which one of its fields can be wrong, with a name for each.
pub fn mutants(type_name: &str, message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let descriptors = descriptors();
    let types: Vec<&DescriptorProto> = descriptors.file.iter().flat_map(|file| &file.message_type).collect();
    mutants_of(&types, type_name, message)
}

/// What each field of a message that has no message inside looks like when it says nothing.
pub fn defaults(type_name: &str) -> Vec<(u32, Value)> {
    let descriptors = descriptors();
    let mut types = descriptors.file.iter().flat_map(|file| &file.message_type);
    let default = |field: &FieldDescriptorProto| match field.r#type() {
        Type::String | Type::Bytes | Type::Message => Value::Bytes(Vec::new()),
        _ => Value::Varint(0),
    };
    let fields = &types.find(|found| found.name() == type_name).unwrap().field;
    fields.iter().map(|field| (field.number() as u32, default(field))).collect()
}

fn mutants_of(types: &[&DescriptorProto], type_name: &str, message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let descriptor = types.iter().find(|found| found.name() == type_name).unwrap();
    let fields = parse(message);
    let mut all = Vec::new();
    for field in &descriptor.field {
        let tag = field.number() as u32;
        let path = format!("{type_name}.{}", field.name());
        for (how, values) in wrong_values() {
            let mut changed: Fields = fields.iter().filter(|(other, _)| *other != tag).cloned().collect();
            changed.extend(values.into_iter().map(|value| (tag, value)));
            all.push((format!("{path} {how}"), write(&changed)));
        }
        let Some(at) = fields.iter().position(|(other, _)| *other == tag) else { continue };
        if let Some(inner_type) = message_type(field)
            && let Value::Bytes(inner) = &fields[at].1
        {
            for (how, inner) in mutants_of(types, inner_type, inner) {
                let mut changed = fields.clone();
                changed[at].1 = Value::Bytes(inner);
                all.push((format!("{path} > {how}"), write(&changed)));
            }
        }
        let mut twice = fields.clone();
        twice.push(fields[at].clone());
        all.push((format!("{path} twice"), write(&twice)));
    }
    all
}

fn message_type(field: &FieldDescriptorProto) -> Option<&str> {
    (field.r#type() == Type::Message).then(|| field.type_name().rsplit('.').next().unwrap())
}

fn wrong_values() -> Vec<(&'static str, Vec<Value>)> {
    let text = |text: &str| vec![Value::Bytes(text.as_bytes().to_vec())];
    vec![
        ("absent", vec![]),
        ("0", vec![Value::Varint(0)]),
        ("unknown number", vec![Value::Varint(9999)]),
        ("-1", vec![Value::Varint(u64::MAX)]),
        ("least", vec![Value::Varint(i64::MIN as u64)]),
        ("most", vec![Value::Varint(i64::MAX as u64)]),
        ("fixed64", vec![Value::Fixed64(u64::MAX)]),
        ("fixed32", vec![Value::Fixed32(7)]),
        ("empty", text("")),
        ("blank", text("  ")),
        ("controls", text("a\0b\n\u{7f}")),
        ("not UTF-8", vec![Value::Bytes(vec![0xff; 10])]),
        ("deep", vec![Value::Bytes(deep(2_000))]),
        ("long", text(&"a".repeat(100_000))),
        ("long, three bytes each", text(&"ệ".repeat(40_000))),
        ("wrong way round", text("\u{202e}exe.fdp")),
        ("path", text("../../../etc/passwd")),
        ("crowd", vec![Value::Bytes(b"H38".to_vec()); 300]),
    ]
}

/// Messages in messages in messages.
fn deep(levels: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..levels {
        inner = write(&vec![(1, Value::Bytes(inner))]);
    }
    inner
}

fn descriptors() -> FileDescriptorSet {
    prost::Message::decode(DESCRIPTORS).unwrap()
}
