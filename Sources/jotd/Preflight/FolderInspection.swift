import Glibc
import Rotation

/// What a worker finds out about one folder that the configuration delivers into, or has sockets
/// in.
struct FolderInspection: Sendable {
  let path: Path
  let depth: Preflight.Depth
  let filesRead: FilesRead
  let mounts: MountView
  var deliveries: [Target] = []
  var sockets: [SocketSettings.Named] = []

  /// A delivery, its index among all, and its place in the configuration.
  struct Target: Sendable {
    let index: Int
    let delivery: Delivery
    let location: SourceLocation
  }

  func report() -> FolderReport {
    var report = FolderReport(deliveries: deliveries)
    if let seclusion = mounts.seclusion(of: resolvedPath) {
      reportSeclusion(seclusion, &report)
      // The rest of what is wrong follows from that.
      if depth == .check { return report }
    }
    do throws(Failure) {
      let folder = try Folder(path)
      inspect(folder, &report)
    } catch {
      // No system call failed: the folder is there, and cannot be trusted.
      if depth == .check || (depth == .reload && error.code == 0) {
        for target in deliveries {
          report.add(target.location, error.description, error.isTransient)
        }
      }
      // A socket is not tried again: it is there, or there is no start.
      for socket in sockets where !isOfSystemd(socket) {
        report.add(socket.location, error.description, error.isTransient)
      }
    }
    return report
  }

  /// Without links, as far as it is there.
  private var resolvedPath: String {
    FileSystem.resolved(path.description) ?? path.description
  }

  private func reportSeclusion(_ seclusion: MountView.Seclusion, _ report: inout FolderReport) {
    let reason =
      switch seclusion {
      case .ownTmp: "lies in a /tmp that the service has for itself (PrivateTmp=)"
      case .hidden: "is hidden from the service (ProtectHome= or InaccessiblePaths=)"
      }
    let text =
      "\(path) \(reason), so that no client finds what jotd delivers there: use a folder below "
      + "/run/jotd, or another one with ReadWritePaths= (systemctl edit jotd)"
    let locations = deliveries.map(\.location) + sockets.filter { !$0.isHandedOver }.map(\.location)
    for location in locations {
      if depth == .check {
        report.add(location, text)
      } else {
        report.warnings.append((location, text))
      }
    }
  }

  private func inspect(_ folder: Folder, _ report: inout FolderReport) {
    let status = try? folder.descriptor.status()
    report.id = status?.id
    let mayBeRead = status.map { mayHoldFilesRead(folder, on: $0.device) } ?? true
    for target in deliveries {
      if let fault = stickyFault(target.delivery, folder) { report.add(target.location, fault) }
      if mayBeRead { refuseFilesRead(target, folder, &report) }
      if case .file = target.delivery, !folder.isInMemory { report.onDisk.append(target.index) }
      guard depth == .check else { continue }
      for fault in faults(target.delivery, folder) { report.add(target.location, fault) }
    }
    if depth == .check { inspectWay(folder, &report) }
    for socket in sockets where !isOfSystemd(socket) {
      if let fault = socketFault(socket.path, folder) { report.add(socket.location, fault) }
      if let failure = writeFailure(folder) {
        report.add(socket.location, failure.description, failure.isTransient)
      }
      if folder.isSticky {
        report.warnings.append(
          (
            socket.location,
            "\(socket.path): in a folder such as \(path), others can make something of that name "
              + "first, and jotd does not start then: use a folder of its own, such as /run/jotd"
          ))
      }
    }
  }

  /// Whether systemd makes the socket, so that its folder is of no concern: it was handed over, or
  /// it is there, and is root's.
  private func isOfSystemd(_ socket: SocketSettings.Named) -> Bool {
    if socket.isHandedOver { return true }
    // `check`, also that before a reload, is handed nothing.
    guard depth != .start, Accounts.own != 0,
      let found = try? FileSystem.status(of: socket.path.description)
    else { return false }
    return found.kind == .socket && found.owner == 0
  }

  private func inspectWay(_ folder: Folder, _ report: inout FolderReport) {
    let folders = FolderWay(to: resolvedPath)
    for target in deliveries {
      if let fault = unreachable(target.delivery, folders) { report.add(target.location, fault) }
    }
    report.way = sockets.first { $0.name == "query" }.map { way(to: $0, folder, folders) }
  }

  /// How callers come to the query socket: as systemd made it, where it is there and not jotd's
  /// own.
  private func way(
    to socket: SocketSettings.Named, _ folder: Folder, _ folders: FolderWay
  ) -> SocketWay {
    let found = try? folder.descriptor.status(of: socket.path.name)
    let isForeign = found?.kind == .socket && found?.owner != Accounts.own
    return SocketWay(
      folders: folders, owner: isForeign ? found?.owner ?? 0 : Accounts.own,
      group: isForeign ? found?.group ?? 0 : socket.group ?? folder.groupOfNewFiles,
      mode: isForeign ? found?.mode ?? 0 : socket.mode)
  }

  /// That nobody for whom something is delivered here can come to it.
  private func unreachable(_ delivery: Delivery, _ folders: FolderWay) -> String? {
    if folders.isOpen { return nil }
    var users: [UInt32] = []
    if let owner = delivery.owner {
      users = [owner]
    } else if let group = delivery.group, folders.obstacle(to: .max, [group]) != nil {
      users = Accounts.members(of: group)
    }
    let faults = users.map { user -> String? in
      guard let (_, groups) = Accounts.account(of: user),
        let closed = folders.obstacle(to: user, groups)
      else { return nil }
      return
        "\(delivery.path): \(Accounts.describe(user: user)), for whom it is, may not pass through "
        + "\(closed): chmod o+x \(closed), or deliver elsewhere"
    }
    return faults.contains(nil) ? nil : faults.first.flatMap(\.self)
  }

  /// Whether what jotd reads may be in the folder. Not where all that is there is on one device,
  /// which holds none of it: in memory, and without a mount of one name.
  private func mayHoldFilesRead(_ folder: Folder, on device: UInt64) -> Bool {
    !folder.isInMemory || filesRead.areAny(on: device) || mounts.mayHavePoints(in: resolvedPath)
  }

  private func refuseFilesRead(
    _ target: Target, _ folder: Folder, _ report: inout FolderReport
  ) {
    // Where others can make names, one of a file that jotd reads may be theirs: a start goes on
    // without that delivery, which replaces nothing that is no token.
    guard depth != .start || !folder.isSticky,
      let found = try? folder.descriptor.status(of: target.delivery.path.name),
      let meaning = filesRead[found.id]
    else { return }
    report.add(
      target.location, "\(target.delivery.path) is \(meaning) itself: deliver elsewhere")
  }

  private func faults(_ delivery: Delivery, _ folder: Folder) -> [String] {
    var faults = [
      delivery.owner.flatMap { Ownership.fault(owner: $0, at: delivery.path) },
      delivery.group.flatMap { Ownership.fault(group: $0, at: delivery.path) },
    ].compactMap(\.self)
    switch delivery {
    case .file(let file):
      faults += file.inPlace ? inPlaceFaults(file, folder) : replacementFaults(file, folder)
      if let failure = delivery.reasonToSpare(FileWriter.look(at: file, in: folder)) {
        faults.append(failure.description)
      }
      if file.inPlace { return faults }
    case .socket(let socket):
      if let fault = socketFault(socket.path, folder) { faults.append(fault) }
    }
    return faults + [writeFailure(folder)?.description].compactMap(\.self)
  }

  private func writeFailure(_ folder: Folder) -> Failure? {
    do throws(Failure) { try folder.descriptor.checkWritable() } catch {
      let user = Accounts.describe(user: Accounts.own)
      return Failure(
        "\(folder.path): \(user) cannot write there: \(error)"
          + adviceOnWriting(error, folder), code: error.code)
    }
    return nil
  }

  /// All that is missing, at once: the permission, and what the unit has to name.
  private func adviceOnWriting(_ error: Failure, _ folder: Folder) -> String {
    let isReadOnlyHere = mounts.isReadOnlyHere(resolvedPath)
    var operations: [String] = []
    switch error.code {
    case EACCES where (try? folder.descriptor.status())?.owner == Accounts.own:
      operations.append("chmod u+wx \(folder.path)")
    case EACCES:
      operations.append(
        "chown \(Accounts.name(user: Accounts.own) ?? "\(Accounts.own)") \(folder.path)")
    case EROFS where !isReadOnlyHere: operations.append("make it writable")
    case EROFS: break
    default: return ""
    }
    if isReadOnlyHere {
      operations.append(
        "have the unit name it (systemctl edit jotd: below [Service], "
          + "ReadWritePaths=\(folder.path); then systemctl restart jotd)")
    }
    return ": \(operations.joined(separator: ", and ")); or deliver elsewhere"
  }

  private func socketFault(_ path: Path, _ folder: Folder) -> String? {
    guard let kind = try? folder.descriptor.status(of: path.name).kind, kind != .socket else {
      return nil
    }
    return "\(path): there is something other than a socket: remove it"
  }

  private func inPlaceFaults(_ file: FileDelivery, _ folder: Folder) -> [String] {
    guard let kind = try? folder.descriptor.status(of: file.path.name).kind else {
      return ["\(file.path) is not there: in_place needs a file that is there already"]
    }
    if kind != .file { return ["\(file.path) is not a file"] }
    guard Accounts.own != 0, file.owner ?? Accounts.own != Accounts.own else { return [] }
    return [
      "\(file.path): with in_place, \(Accounts.describe(user: Accounts.own)) must stay the owner "
        + "to write it again: leave the owner out, and let the client's group read it"
    ]
  }

  private func replacementFaults(_ file: FileDelivery, _ folder: Folder) -> [String] {
    if (try? folder.descriptor.isMountRoot(file.path.name)) == true {
      return [
        "\(file.path) is a mount point and cannot be renamed over: mount its folder instead, or "
          + "set in_place: true (readers can then see a torn file)"
      ]
    }
    do throws(Failure) {
      try FileWriter.refuseOtherThanFile(file, folder)
      return []
    } catch { return [FileWriter.explain(error, file, folder).description] }
  }

  /// What is given away in a sticky folder could neither be replaced nor removed again.
  private func stickyFault(_ delivery: Delivery, _ folder: Folder) -> String? {
    guard folder.isSticky, let owner = delivery.owner, owner != Accounts.own else { return nil }
    return
      "\(delivery.path): in a sticky folder such as \(folder.path) only files of jotd's own user "
      + "are safe: deliver elsewhere, or leave the owner out"
  }
}
