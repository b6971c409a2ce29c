import Rotation

/// Where a private key is that stays outside of jotd: a URI of OpenSSL's stores (ossl_store(7)),
/// such as RFC 7512 has for PKCS#11, and tpm2-openssl for a TPM 2.0.
struct KeyURI: Hashable {
  /// As it was written. It may hold a PIN.
  let text: String

  /// Nil for what is none, see `rule`.
  init?(_ text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count <= Limits.keyURIBytes, bytes.allSatisfy({ (0x21...0x7e).contains($0) }),
      let colon = bytes.firstIndex(of: UInt8(ascii: ":")), colon + 1 < bytes.count,
      let first = bytes.first, KeyURI.isLetter(first),
      bytes[..<colon].allSatisfy({ KeyURI.isLetter($0) || "0123456789+-.".utf8.contains($0) })
    else { return nil }
    self.text = text
  }

  static let rule =
    "must be a URI of at most \(Limits.keyURIBytes) visible ASCII characters, such as "
    + "pkcs11:token=jotd;object=vault or handle:0x81000001"

  private static func isLetter(_ byte: UInt8) -> Bool {
    (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
  }

  /// In lower case, as RFC 3986 section 3.1 compares it.
  var scheme: String { String(text.prefix { $0 != ":" }).lowercased() }

  /// Whether a PIN stands in it (RFC 7512 section 2.4).
  var hasPIN: Bool { shown != text }

  /// Whether it says what opens the device: a PIN, or where one is.
  var isProtected: Bool { hasPIN || text.contains("pin-source=") }

  /// For people: without the PIN.
  var shown: String { KeyURI.masked(text) }

  /// A text that may repeat URIs, without the PINs in them.
  static func masked(_ text: String) -> String {
    let attribute = "pin-value="
    var shown = ""
    var rest = Substring(text)
    while let start = rest.firstRange(of: attribute) {
      shown += rest[..<start.upperBound] + "..."
      rest = rest[start.upperBound...].drop { !";& ".contains($0) }
    }
    return shown + rest
  }

  /// What tells devices apart that count wrong passphrases: for PKCS#11 the token, as far as the
  /// URI says which (RFC 7512 section 2.3), whatever reaches it; for a TPM, which has one for each
  /// object, all of it.
  var device: String {
    guard scheme == "pkcs11" || text.contains("pkcs11:") else { return text }
    let others = [
      "object", "id", "type", "pin-value", "pin-source", "module-path", "module-name",
    ]
    let attributes = text.split { ":;?&".contains($0) }.filter { attribute in
      attribute.contains("=") && !others.contains { attribute.hasPrefix("\($0)=") }
    }
    return "pkcs11:" + attributes.sorted().joined(separator: ";")
  }

  /// The URI without what names a PKCS#11 module, and the path of that, where it is named by
  /// `module-path` (RFC 7512 section 2.4): not all drivers know that.
  var withoutModule: (text: String, module: String?) {
    guard let mark = text.firstIndex(of: "?") else { return (text, nil) }
    let attributes = text[text.index(after: mark)...].split(separator: "&")
    let name = "module-path="
    let others = attributes.filter { !$0.hasPrefix(name) }
    let module = attributes.first { $0.hasPrefix(name) }.map {
      KeyURI.decoded($0.dropFirst(name.count))
    }
    let rest = others.isEmpty ? "" : "?" + others.joined(separator: "&")
    return (text[..<mark] + rest, module)
  }

  /// RFC 3986 section 2.1.
  private static func decoded(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), let value = UInt8(String(rest.prefix(2)) ?? "", radix: 16),
        rest.count >= 2
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
