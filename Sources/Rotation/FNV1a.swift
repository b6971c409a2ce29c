/// The 64 bits of FNV-1a (draft-eastlake-fnv): quick, the same in every run, and not for secrets.
/// For the two kinds of bytes that are hashed: generic code of another module is not specialized.
extension String {
  package var fnv1a: UInt64 { Rotation.fnv1a(utf8Span.span) }
}

extension ArraySlice<UInt8> {
  package var fnv1a: UInt64 { Rotation.fnv1a(span) }
}

private func fnv1a(_ bytes: Span<UInt8>) -> UInt64 {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for index in bytes.indices { hash = (hash ^ UInt64(bytes[index])) &* 0x100_0000_01b3 }
  return hash
}
