import Rotation

/// Which configuration is in force, and as it was when it was read: so that a person can be told
/// that the files are others by now.
struct ConfigurationVersion: Sendable, Equatable {
  /// The main file, without links: the same for everybody who means it.
  let file: String
  /// 16 hexadecimal digits: SHA-256 over the contents of all files and the names of all but the
  /// main one, cut to 64 bits. It tells files apart; a right guess at all of them can be confirmed
  /// by it. The secret is not one of them.
  let fingerprint: String
}

extension ConfigurationVersion {
  /// Gathers the files while they are read.
  struct Reading {
    private var digests: [UInt8] = []
    private var isWhole = true

    /// Takes the next file, the main one first. Of the paths of the others the name counts, because
    /// one folder has several paths.
    mutating func add(_ file: String, _ bytes: [UInt8]) {
      let name = digests.isEmpty ? nil : file.utf8.split(separator: UInt8(ascii: "/")).last
      guard let ofName = Digest.sha256(name.map { Array($0) } ?? []),
        let ofBytes = Digest.sha256(bytes)
      else {
        isWhole = false
        return
      }
      digests += ofName + ofBytes
    }

    /// The version of all that was taken, with `path` as its main file; nil without memory.
    func version(_ path: String) -> ConfigurationVersion? {
      guard isWhole, let digest = Digest.sha256(digests) else { return nil }
      let digits = Digest.hexadecimal(digest.prefix(8))
      return ConfigurationVersion(
        file: FileSystem.resolved(path) ?? path, fingerprint: digits)
    }
  }

  /// That of the files as they are now, which are read and not understood. Throws when one of them
  /// cannot be read.
  static func onDisk(_ path: String) throws(Failure) -> ConfigurationVersion? {
    var reading = Reading()
    for file in [path] + (try Configuration.additions(to: path)) {
      reading.add(file, try FileSystem.contents(of: file, upTo: Limits.configurationBytes))
    }
    return reading.version(path)
  }
}
