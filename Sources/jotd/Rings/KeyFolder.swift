import Glibc
import Rotation

/// The folder of a ring of keys: a file for each private key, and one for the ring's state, all for
/// jotd's own user. What is done here can hang: never on the main queue.
struct KeyFolder: Sendable {
  let path: Path

  private static let stateName = "state.json"

  /// What is there: a ring, and what is worth saying. Nothing is changed. Throws where the folder
  /// or the state cannot be read, or is of a later jotd; a private key that cannot be used counts
  /// as lost.
  func read(_ policy: KeyRing.Policy) throws(Failure) -> (ring: KeyRing, warnings: [String]) {
    var warnings: [String] = []
    var files: [KeyRing.File] = []
    let found = try keyFiles()
    guard found.count <= 2 * Limits.keyMembers else {
      throw Failure(
        "\(path) has \(found.count) private keys, and at most \(2 * Limits.keyMembers) are "
          + "allowed: take away what jotd did not make")
    }
    if !found.isEmpty { try checkRights(Folder(path)) }
    for (number, algorithm) in found {
      do throws(Failure) {
        let signer = try load(number, algorithm)
        if let publicKey = signer.publicKey, let kid = signer.kid {
          files.append(
            KeyRing.File(kid: kid, algorithm: algorithm, publicKey: publicKey, number: number))
        }
      } catch {
        // It may be right, and only not to be read.
        if error.code != 0 { throw error }
        warnings.append("\(error): it is as if this key were lost")
      }
    }
    let saved = try savedState(&warnings)
    if saved == nil, !files.isEmpty {
      warnings.append(
        "\(path): there are keys, and no state of them: the oldest signs, as the one that "
          + "verifiers know for longest")
    }
    let ring = KeyRing(
      saved, files: files, lastNumber: found.map(\.number).max() ?? 0, policy,
      bootID: Boot.id, at: .now)
    return (ring, warnings)
  }

  private func savedState(_ warnings: inout [String]) throws(Failure) -> KeyRing.Saved? {
    let text: [UInt8]
    let file = "\(path)/\(KeyFolder.stateName)"
    do throws(Failure) {
      text = try FileSystem.contents(of: file, upTo: Limits.keyStateBytes)
    } catch {
      if error.isNotFound { return nil }
      guard error.code == EFBIG else { throw error.about(file) }
      warnings.append("\(file) is longer than jotd makes it: it is as if it were lost")
      return nil
    }
    do throws(Failure) { return try KeyRing.Saved(parsing: text) } catch {
      if error.code == EPROTO { throw Failure("\(file): \(error)", code: error.code) }
      warnings.append("\(file): \(error): it is as if it were lost")
      return nil
    }
  }

  // MARK: Files

  /// `3.ES256.pem`
  private func name(_ number: Int, _ algorithm: Algorithm) -> String {
    "\(number).\(algorithm.rawValue).pem"
  }

  /// Those with the name of a private key; none where the folder is not there.
  private func keyFiles() throws(Failure) -> [(number: Int, algorithm: Algorithm)] {
    let names: [String]
    do throws(Failure) { names = try FileSystem.names(in: path.description) } catch {
      if error.isNotFound { return [] }
      throw error.about("\(path)")
    }
    return names.compactMap { name in
      let parts = name.split(separator: ".", omittingEmptySubsequences: false)
      guard parts.count == 3, parts[2] == "pem", let number = Int(parts[0]),
        KeyRing.numbers.contains(number), let algorithm = Algorithm(rawValue: String(parts[1])),
        !algorithm.takesSecret, name == self.name(number, algorithm)
      else { return nil }
      return (number, algorithm)
    }.sorted { $0.number < $1.number }
  }

  private func load(
    _ number: Int, _ algorithm: Algorithm
  ) throws(Failure) -> any Signer {
    let file = Path("\(path)/\(name(number, algorithm))")
    let status: FileStatus
    do throws(Failure) { status = try FileSystem.status(of: file.description) } catch {
      throw error.about("\(file)")
    }
    guard status.kind == .file, status.mode & 0o077 == 0, Accounts.trusted.contains(status.owner)
    else {
      throw Failure(
        "\(file) must be a file that only jotd's user may read: chmod 600, and "
          + "chown \(Accounts.describe(user: Accounts.own))", code: EPERM)
    }
    let settings = SecretSettings(source: .file(file), algorithm: algorithm, path: "generate")
    let key = KeySettings(
      label: KeyLabel(algorithm: algorithm), path: "generate", secret: settings, allowWeak: false)
    return try SecretLoader(key: key).signer().signer
  }

  private func file(_ name: String) -> FileDelivery {
    FileDelivery(
      path: Path("\(path)/\(name)"), format: .token, owner: nil, group: nil, mode: 0o600,
      inPlace: false)
  }

  /// The folder, which nobody else may write; made where it is not there.
  private func open() throws(Failure) -> Folder {
    if unsafe mkdir(path.description, 0o700) != 0, errno != EEXIST {
      throw Failure.last.about("\(path), the folder of a key, cannot be made")
    }
    let folder = try Folder(path)
    try checkRights(folder)
    return folder
  }

  private func checkRights(_ folder: Folder) throws(Failure) {
    let status = try folder.descriptor.status()
    guard status.mode & 0o077 == 0, Accounts.trusted.contains(status.owner) else {
      throw Failure(
        "\(path) holds private keys, and others than its owner have rights there: chmod 700, and "
          + "chown \(Accounts.describe(user: Accounts.own))", code: EPERM)
    }
  }

  /// Makes the folder where it is not there, and keeps others from changing it.
  func lock() throws(Failure) -> KeyFolderLock {
    try KeyFolderLock(open())
  }

  /// Throws when no key could be kept there.
  func checkWritable() throws(Failure) {
    if let status = try? FileSystem.status(of: path.description) {
      guard status.kind == .folder else { throw Failure("\(path) is no folder") }
      try open().descriptor.checkWritable()
    } else {
      do throws(Failure) { try Folder(path.folder).descriptor.checkWritable() } catch {
        throw Failure(
          "\(path), the folder of a key, cannot be made in \(path.folder): \(error)",
          code: error.code)
      }
    }
  }

  // MARK: Work

  /// Does what a ring asks for: gives what it is to be told, and what it can sign with since.
  func carryOut(_ work: KeyRing.Work) -> (input: KeyRing.Input, signer: (any Signer)?) {
    do throws(Failure) {
      switch work {
      case .make(let algorithm, let number): return try make(algorithm, number)
      case .load(let number, let kid):
        guard let found = try keyFiles().first(where: { $0.number == number }) else {
          throw Failure("\(path): the file of key \(number) is gone")
        }
        let signer = try load(number, found.algorithm)
        guard signer.kid == kid else {
          throw Failure("\(path): the file of key \(number) holds another key than it did")
        }
        return (.done, signer)
      case .save(let text):
        try FileWriter.write(text, to: file(KeyFolder.stateName), in: open())
        return (.done, nil)
      case .remove(let number):
        let folder = try open()
        for found in try keyFiles() where found.number == number {
          _ = try FileWriter.remove(file(name(number, found.algorithm)), in: folder)
        }
        return (.done, nil)
      }
    } catch { return (.failed(error), nil) }
  }

  private func make(
    _ algorithm: Algorithm, _ number: Int
  ) throws(Failure) -> (KeyRing.Input, (any Signer)?) {
    let folder = try open()
    // One of another algorithm may have the number since a try that failed.
    for found in try keyFiles() where found.number == number {
      _ = try FileWriter.remove(file(name(number, found.algorithm)), in: folder)
    }
    let key = try OpenSSLKey.generate(for: algorithm)
    let signer = try PrivateKeySigner(key, algorithm, kid: nil)
    let pem = try key.pem()
    try FileWriter.write(to: file(name(number, algorithm)), in: folder) { target throws(Failure) in
      try pem.write(to: target)
    }
    guard let kid = signer.kid else { throw Failure("OpenSSL could not hash") }
    return (.made(kid: kid, key.publicKey), signer)
  }
}
