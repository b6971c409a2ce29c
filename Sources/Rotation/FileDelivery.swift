/// A file that always holds the identity's fresh token.
package struct FileDelivery: Hashable, Sendable {
  package let path: Path
  package let format: Format
  /// uid and gid. Nil: jotd's own user, and the group that new files get in the folder; in place,
  /// those that the file has.
  package let owner: UInt32?
  package let group: UInt32?
  /// Permission bits, 0 to 0o7777.
  package let mode: UInt16
  /// Written through in place of renamed over: for a target that is a mount point.
  package let inPlace: Bool
  /// The most bytes that its clients take: more are not written. Nil for no bound.
  package let maxBytes: UInt32?

  package init(
    path: Path, format: Format, owner: UInt32?, group: UInt32?, mode: UInt16, inPlace: Bool,
    maxBytes: UInt32? = nil
  ) {
    self.path = path
    self.format = format
    self.owner = owner
    self.group = group
    self.mode = mode
    self.inPlace = inPlace
    self.maxBytes = maxBytes
  }
}

extension Identity {
  /// The most bytes that `file` has with a token of this identity that `signer` signs.
  package func bytes(of file: FileDelivery, signedBy signer: any Signer) -> Int {
    bytes(of: file, signer.algorithm, kid: signer.kid, signature: signer.signatureBytes)
  }

  /// The same, while no more is known of the key than `label`: of a private key, with a thumbprint
  /// as its `kid` where none is configured, and with the shortest signature.
  package func bytes(of file: FileDelivery, signedBy label: KeyLabel) -> Int {
    let thumbprint = String(repeating: "x", count: Base64URL.digits(for: 32))
    return bytes(
      of: file, label.algorithm,
      kid: label.kid ?? (label.algorithm.takesSecret ? nil : thumbprint),
      signature: min(label.algorithm.mostSignatureBytes, Limits.rsaBits.lowerBound / 8))
  }

  private func bytes(
    of file: FileDelivery, _ algorithm: Algorithm, kid: String?, signature: Int
  ) -> Int {
    let count = template.mostBytes(algorithm, kid: kid, signature: signature)
    let now = Instant(microseconds: 0)
    let token = Token(
      compact: [UInt8](repeating: UInt8(ascii: "x"), count: count), issuedAt: now,
      expiresAt: now + lifetime, origin: .keys)
    return file.format.render(token, of: self).count
  }
}
