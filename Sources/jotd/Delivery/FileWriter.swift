import Glibc
import Rotation

/// Puts tokens into files. A reader finds the old content or the new, whole, with the right owner,
/// group and mode, after a power cut too: a temporary file in the same folder, written, given away,
/// synced, renamed over the old one, and the folder synced. With `inPlace`, the file itself is
/// written, and a reader can find a mix.
enum FileWriter {
  /// Makes `content` what readers of `file` find.
  static func write(
    _ content: [UInt8], to file: FileDelivery, in folder: Folder
  ) throws(Failure) {
    if let most = file.maxBytes, content.count > most {
      throw Failure(
        "\(file.path) would have \(content.count) bytes with the new token, and max_bytes is "
          + "\(most): nothing is written. Leave claims out of the token, or shorten the template")
    }
    do throws(Failure) {
      try refuseOtherThanFile(file, folder)
      if file.inPlace {
        try writeThrough(content, file, folder)
      } else {
        try replace(file, folder) { target throws(Failure) in try target.write(content) }
      }
    } catch { throw explain(error, file, folder) }
  }

  /// Makes what `write` writes the content of `file`, which is not written in place.
  static func write(
    to file: FileDelivery, in folder: Folder,
    _ write: (borrowing Descriptor) throws(Failure) -> Void
  ) throws(Failure) {
    do throws(Failure) {
      try refuseOtherThanFile(file, folder)
      try replace(file, folder, write)
    } catch { throw explain(error, file, folder) }
  }

  /// Leaves no token at `file`: removes it, or with `inPlace` empties it. `.found(.nothing)` when
  /// nothing was there. What is no regular file stays, and is a failure.
  static func remove(_ file: FileDelivery, in folder: Folder) throws(Failure) -> Outcome {
    let name = file.path.name
    do throws(Failure) {
      if file.inPlace {
        let target = try openInPlace(file, folder)
        try target.truncate(to: 0)
        if try !target.isInMemory() { try target.sync() }
      } else {
        guard try folder.descriptor.status(of: name).kind == .file else {
          throw Failure(errno: EINVAL)
        }
        try folder.descriptor.remove(name)
        if !folder.isInMemory { try folder.descriptor.sync() }
      }
      return .done
    } catch {
      if error.isNotFound { return .found(.nothing) }
      throw explain(error, file, folder)
    }
  }

  /// What is at `file`. All but a regular file counts as nothing: a write replaces or refuses it.
  static func look(at file: FileDelivery, in folder: Folder) -> Found {
    do throws(Failure) {
      guard try folder.descriptor.status(of: file.path.name).kind == .file else { return .nothing }
      let target = try folder.descriptor.open(file.path.name, [.noFollow, .nonBlocking])
      let status = try target.status()
      let bytes = try target.read(upTo: file.format.mostBytes)
      return .file(bytes, isAsConfigured: isAsConfigured(status, file, folder))
    } catch {
      switch error.code {
      case ENOENT: return .nothing
      case EFBIG: return .tooLarge
      default:
        return .unreadable(
          Failure(
            "\(file.path) cannot be read, so nobody can tell whether it holds a token: "
              + "\(error). Let \(Accounts.describe(user: Accounts.own)) read it, or move "
              + "it away", code: error.code))
      }
    }
  }

  /// Whether a file has the mode, owner and group that writing it anew would give it.
  private static func isAsConfigured(
    _ status: FileStatus, _ file: FileDelivery, _ folder: Folder
  ) -> Bool {
    // What is written in place keeps what the configuration does not name.
    let owner = file.owner ?? (file.inPlace ? status.owner : Accounts.own)
    let group = file.group ?? (file.inPlace ? status.group : folder.groupOfNewFiles)
    return status.mode == file.mode && status.owner == owner && status.group == group
  }

  /// Removes the temporary files that an earlier run left in `folder`, beside the deliveries whose
  /// stems these are.
  static func sweep(_ folder: Folder, _ stems: Set<[UInt8]>) {
    // In a sticky folder, others can make any number of such names; elsewhere nobody can, and what
    // was left may have its client as the owner already.
    try? FileSystem.visit(folder.path.description) { name in
      guard let (stem, number) = TemporaryName.parts(of: name), stems.contains(stem),
        !TemporaryName.isOfThisRun(number),
        let status = try? folder.descriptor.status(of: name), status.kind == .file,
        !folder.isSticky || Accounts.trusted.contains(status.owner)
      else { return }
      try? folder.descriptor.remove(name)
    }
  }

  // MARK: The two ways of writing

  private static func replace(
    _ file: FileDelivery, _ folder: Folder, _ write: (borrowing Descriptor) throws(Failure) -> Void
  ) throws(Failure) {
    let name = file.path.name
    let temporary = TemporaryName.next(for: name)
    let target = try folder.descriptor.open(temporary, [.write, .createNew, .noFollow])
    do throws(Failure) {
      try finish(target, file, folder, write)
      try folder.descriptor.rename(temporary, to: name)
    } catch {
      try? folder.descriptor.remove(temporary)
      throw error
    }
    if !folder.isInMemory { try folder.descriptor.sync() }
  }

  /// Closes it, too: after the rename, that would look as if somebody had written to the delivery.
  private static func finish(
    _ target: consuming Descriptor, _ file: FileDelivery, _ folder: Folder,
    _ write: (borrowing Descriptor) throws(Failure) -> Void
  ) throws(Failure) {
    try write(target)
    try giveAway(target, file)
    if !folder.isInMemory { try target.sync() }
  }

  private static func writeThrough(
    _ content: [UInt8], _ file: FileDelivery, _ folder: Folder
  ) throws(Failure) {
    let target = try openInPlace(file, folder)
    try giveAway(target, file)
    try target.write(content)
    try target.truncate(to: content.count)
    // It may be a mount of another file system than its folder's.
    if try !target.isInMemory() { try target.sync() }
  }

  /// The file that is written through. In a sticky folder, where others can make links, it must
  /// have no other name: what they linked would be written.
  private static func openInPlace(
    _ file: FileDelivery, _ folder: Folder
  ) throws(Failure) -> Descriptor {
    // Non-blocking, so that a pipe in its place fails at once instead of waiting for a reader.
    let target = try folder.descriptor.open(file.path.name, [.write, .noFollow, .nonBlocking])
    let status = try target.status()
    guard status.kind == .file else { throw Failure(errno: EINVAL) }
    guard !folder.isSticky || (status.owner == Accounts.own && status.links == 1) else {
      throw Failure(errno: EPERM)
    }
    return target
  }

  /// The group before the mode, so that no other group can open it for a moment; the owner last,
  /// because changing what is another's would take CAP_FOWNER. Only the special bits have to come
  /// after, because chown(2) clears them.
  private static func giveAway(
    _ target: borrowing Descriptor, _ file: FileDelivery
  ) throws(Failure) {
    let status = file.inPlace ? try target.status() : nil
    if let group = file.group, group != status?.group { try target.changeOwner(nil, group) }
    if status?.mode != file.mode { try target.changeMode(file.mode) }
    if let owner = file.owner, owner != status?.owner {
      try target.changeOwner(owner, nil)
      if file.mode > 0o777 { try target.changeMode(file.mode) }
    }
  }

  /// Throws when what is at `file` must not be replaced: EISDIR for a folder, EINVAL for a device,
  /// pipe or socket, and in a sticky folder EPERM for a file or link of another user.
  static func refuseOtherThanFile(_ file: FileDelivery, _ folder: Folder) throws(Failure) {
    let found: FileStatus
    do { found = try folder.descriptor.status(of: file.path.name) } catch {
      if error.isNotFound { return }
      throw error
    }
    switch found.kind {
    case .file, .link: break
    case .folder: throw Failure(errno: EISDIR)
    default: throw Failure(errno: EINVAL)
    }
    if folder.isSticky, found.owner != Accounts.own, Accounts.own != 0 || found.owner != 0 {
      throw Failure(errno: EPERM)
    }
  }

  static func explain(_ error: Failure, _ file: FileDelivery, _ folder: Folder) -> Failure {
    let user = Accounts.describe(user: Accounts.own)
    let advice =
      switch error.code {
      case ENOSPC where folder.descriptor.hasNoInodes:
        ": there is room, but no inode left for another file: remove files from its file system"
      case ENOSPC, EDQUOT: ": free some space"
      case EROFS: ": make it writable, or deliver elsewhere"
      case EACCES where file.inPlace: ": let \(user) write to the file"
      case EACCES: ": let \(user) write to \(file.path.folder)"
      case EPERM where file.owner ?? Accounts.own != Accounts.own || file.group != nil:
        ": \(user) may not give files to others: it needs CAP_CHOWN, or no owner and group there"
      case EPERM where folder.isSticky:
        ": in a sticky folder such as \(folder.path), only a file of jotd's own user that has no "
          + "other name is safe: remove it, or deliver elsewhere"
      case EPERM: ": the file belongs to somebody else, or its folder forbids changes"
      case ENOENT where file.inPlace: ": in_place needs a file that is there already"
      case ENOENT: ": create the folder \(file.path.folder)"
      case EBUSY: ": it is a mount point; mount its folder instead, or set in_place: true"
      case EISDIR: ": there is a folder of that name"
      case ELOOP, EINVAL: ": there is something other than a file"
      default: ""
      }
    return Failure("\(file.path): \(error)\(advice)", code: error.code)
  }
}
