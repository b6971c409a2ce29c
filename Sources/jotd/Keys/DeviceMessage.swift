import Rotation

/// What jotd and its helper for one key say to each other, one packet each (SOCK_SEQPACKET): first
/// an `Opening`, then the passphrase if there is one, then messages to be signed. Each but the
/// passphrase is answered.
enum DeviceMessage {
  /// The command of jotd that is the helper.
  static let helper = "device-helper"

  /// What the helper is to open.
  struct Opening: Equatable {
    let algorithm: Algorithm
    let uri: KeyURI
    let hasPassphrase: Bool

    init(_ algorithm: Algorithm, _ uri: KeyURI, hasPassphrase: Bool) {
      (self.algorithm, self.uri, self.hasPassphrase) = (algorithm, uri, hasPassphrase)
    }

    /// Nil for what is none.
    init?(_ bytes: [UInt8]) {
      let words = String(decoding: bytes, as: UTF8.self).split(separator: " ")
      guard words.count == 3, let algorithm = Algorithm(rawValue: String(words[0])),
        let uri = KeyURI(String(words[2]))
      else { return nil }
      self.init(algorithm, uri, hasPassphrase: words[1] == "+")
    }

    /// A URI has no space.
    var bytes: [UInt8] {
      Array("\(algorithm.rawValue) \(hasPassphrase ? "+" : "-") \(uri.text)".utf8)
    }
  }

  /// What the helper answers.
  enum Answer: Equatable {
    /// The public half of what it opened, as an X.509 SubjectPublicKeyInfo in DER.
    case publicKey([UInt8])
    case signature([UInt8])
    /// The device refuses the passphrase, with its words.
    case passphraseRefused(String)
    case failed(String)

    private static let kinds = (
      publicKey: UInt8(ascii: "K"), signature: UInt8(ascii: "S"), refused: UInt8(ascii: "R"),
      failed: UInt8(ascii: "F")
    )

    /// Nil for what is none.
    init?(_ bytes: [UInt8]) {
      guard let kind = bytes.first else { return nil }
      let rest = Array(bytes.dropFirst())
      switch kind {
      case Answer.kinds.publicKey: self = .publicKey(rest)
      case Answer.kinds.signature: self = .signature(rest)
      case Answer.kinds.refused: self = .passphraseRefused(String(decoding: rest, as: UTF8.self))
      case Answer.kinds.failed: self = .failed(String(decoding: rest, as: UTF8.self))
      default: return nil
      }
    }

    var bytes: [UInt8] {
      switch self {
      case .publicKey(let der): [Answer.kinds.publicKey] + der
      case .signature(let signature): [Answer.kinds.signature] + signature
      case .passphraseRefused(let words):
        [Answer.kinds.refused] + words.utf8.prefix(Limits.deviceWords)
      case .failed(let words): [Answer.kinds.failed] + words.utf8.prefix(Limits.deviceWords)
      }
    }
  }
}
