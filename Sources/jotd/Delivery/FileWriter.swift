import Glibc
import Rotation
import Synchronization

/// Puts tokens into files so that a reader finds the old content or the new, whole, with the
/// right owner, group and mode, after a power cut too: a temporary file in the same folder,
/// written, given away, synced, renamed over the old one, and the folder synced.
enum FileWriter {
  /// Makes `content` what readers of `file` find.
  static func write(
    _ content: [UInt8], to file: FileDelivery, in folder: Folder
  ) throws(Failure) {
    do throws(SystemError) {
      try refuseOtherThanFile(file, folder)
      if file.inPlace {
        try writeThrough(content, file, folder)
      } else {
        try replace(content, file, folder)
      }
    } catch { throw explain(error, file) }
  }

  /// Leaves nothing at `file`: removes it, or empties it where it cannot be removed.
  static func remove(_ file: FileDelivery, in folder: Folder) throws(Failure) {
    let name = file.path.name
    do throws(SystemError) {
      if file.inPlace {
        let target = try folder.descriptor.open(name, [.write, .noFollow, .nonBlocking])
        try target.truncate(to: 0)
      } else {
        guard try folder.descriptor.status(of: name).kind == .file else { return }
        try folder.descriptor.remove(name)
        if !folder.isInMemory { try folder.descriptor.sync() }
      }
    } catch {
      if !error.isNotFound { throw explain(error, file) }
    }
  }

  /// The bytes at `file`, if it is a file with the owner, group and mode that it should have.
  static func content(of file: FileDelivery, in folder: Folder) -> [UInt8]? {
    guard
      let target = try? folder.descriptor.open(file.path.name, [.noFollow, .nonBlocking]),
      let status = try? target.status(), status.kind == .file,
      status.mode == file.mode, file.owner == nil || file.owner == status.owner,
      file.group == nil || file.group == status.group
    else { return nil }
    // The largest format is a token with a few hundred bytes around it.
    return try? target.read(upTo: Limits.tokenBytes + 4096)
  }

  // MARK: The two ways of writing

  private static func replace(
    _ content: [UInt8], _ file: FileDelivery, _ folder: Folder
  ) throws(SystemError) {
    let name = file.path.name
    let temporary = TemporaryName.next(for: name)
    let target = try folder.descriptor.open(temporary, [.write, .createNew, .noFollow])
    do throws(SystemError) {
      try target.write(content)
      try giveAway(target, file)
      if !folder.isInMemory { try target.sync() }
      try folder.descriptor.rename(temporary, to: name)
    } catch {
      try? folder.descriptor.remove(temporary)
      throw error
    }
    if !folder.isInMemory { try folder.descriptor.sync() }
  }

  private static func writeThrough(
    _ content: [UInt8], _ file: FileDelivery, _ folder: Folder
  ) throws(SystemError) {
    // Non-blocking, so that a pipe in its place fails at once instead of waiting for a reader.
    let target = try folder.descriptor.open(file.path.name, [.write, .noFollow, .nonBlocking])
    guard try target.status().kind == .file else { throw SystemError(code: EINVAL) }
    try giveAway(target, file)
    try target.write(content)
    try target.truncate(to: content.count)
    // It may be a mount of another file system than its folder's.
    if try !target.isInMemory() { try target.sync() }
  }

  /// Mode first: once the file is another's, changing it would take CAP_FOWNER. Only the special
  /// bits have to come after, because chown(2) clears them.
  private static func giveAway(
    _ target: borrowing Descriptor, _ file: FileDelivery
  ) throws(SystemError) {
    let status = file.inPlace ? try target.status() : nil
    if status?.mode != file.mode { try target.changeMode(file.mode) }
    if (file.owner ?? status?.owner) != status?.owner
      || (file.group ?? status?.group) != status?.group
    {
      try target.changeOwner(file.owner, file.group)
      if file.mode > 0o777 { try target.changeMode(file.mode) }
    }
  }

  /// Replaces files, and links to them, but no device, pipe or socket; and in a sticky folder no
  /// foreign file, which could not be replaced and would not be safe to.
  static func refuseOtherThanFile(_ file: FileDelivery, _ folder: Folder) throws(SystemError) {
    let found: FileStatus
    do { found = try folder.descriptor.status(of: file.path.name) } catch {
      if error.isNotFound { return }
      throw error
    }
    switch found.kind {
    case .file, .link: break
    case .folder: throw SystemError(code: EISDIR)
    default: throw SystemError(code: EINVAL)
    }
    if folder.isSticky, found.owner != Accounts.own, Accounts.own != 0 || found.owner != 0 {
      throw SystemError(code: EPERM)
    }
  }

  static func explain(_ error: SystemError, _ file: FileDelivery) -> Failure {
    let user = Accounts.describe(user: Accounts.own)
    let advice =
      switch error.code {
      case ENOSPC, EDQUOT: ": free some space"
      case EROFS: ": make it writable, or deliver elsewhere"
      case EACCES where file.inPlace: ": let \(user) write to the file"
      case EACCES: ": let \(user) write to \(file.path.folder)"
      case EPERM where file.owner ?? Accounts.own != Accounts.own || file.group != nil:
        ": \(user) may not give files to others: it needs CAP_CHOWN, or no owner and group there"
      case EPERM: ": the file belongs to somebody else, or its folder forbids changes"
      case ENOENT where file.inPlace: ": in_place needs a file that is there already"
      case ENOENT: ": create the folder \(file.path.folder)"
      case EBUSY: ": it is a mount point; mount its folder instead, or set in_place: true"
      case EISDIR: ": there is a folder of that name"
      case ELOOP, EINVAL: ": there is something other than a file"
      default: ""
      }
    return Failure("\(file.path): \(error.reason)\(advice)", code: error.code)
  }
}

/// Names of the files that are written before they are renamed: `.NAME.0123456789abcdef.jotd`.
enum TemporaryName {
  private static let suffix = ".jotd"
  private static let digits = 16
  /// Bytes of the target's name that are kept: with the rest they fit NAME_MAX.
  private static let stemBytes = Limits.nameBytes - digits - suffix.utf8.count - 2

  /// Begins anywhere, so that names cannot be foreseen; counts on, so that they do not repeat.
  private static let counter = Atomic<UInt64>(UInt64.random(in: 0 ... .max))

  static func next(for name: String) -> String {
    let (number, _) = counter.add(1, ordering: .relaxed)
    let hexadecimal = String(number, radix: 16)
    let padding = String(repeating: "0", count: digits - hexadecimal.utf8.count)
    return ".\(stem(name)).\(padding)\(hexadecimal)\(suffix)"
  }

  /// The stem in the name of a temporary file, in bytes; nil when `name` is no such name.
  static func stem(ofTemporary name: String) -> [UInt8]? {
    guard name.utf8.first == UInt8(ascii: "."), name.utf8.ends(with: suffix) else { return nil }
    let inner = Array(name.utf8.dropFirst().dropLast(suffix.utf8.count))
    guard let period = inner.lastIndex(of: UInt8(ascii: ".")) else { return nil }
    let number = inner[period...].dropFirst()
    let hexadecimal = Array("0123456789abcdef".utf8)
    guard number.count == digits, number.allSatisfy(hexadecimal.contains) else { return nil }
    return Array(inner[..<period])
  }

  /// The target's name, or as many of its characters as fit.
  static func stem(_ name: String) -> String {
    var bytes = 0
    let kept = name.unicodeScalars.prefix { scalar in
      bytes += UTF8.width(scalar)
      return bytes <= stemBytes
    }
    return String(String.UnicodeScalarView(kept))
  }
}
