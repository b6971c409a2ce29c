import Rotation

/// Holds a configuration against the host that it is to run on.
enum HostInspection {
  /// Finds folders that cannot be trusted, which no start and no reload accepts. A folder that is not there is no reason not to start:
  /// it may come, and deliveries try again.
  static func inspectTrust(_ settings: Settings, _ findings: Findings) {
    var known = Known(settings)
    inspect(settings) { delivery, place, folder in
      switch folder {
      case .success(let folder): inspectPlace(delivery, place, folder, &known, findings)
      case .failure(let failure):
        if failure.code == 0 { findings.error(place, failure.description) }
      }
    }
  }

  /// Reads the secret, and finds what is wrong or weak about it; nil after an error.
  static func inspectSecret(_ signing: SigningSettings, _ findings: Findings) -> HMACSigner? {
    do throws(Failure) {
      let (signer, warnings) = try SecretReader(signing: signing).signer()
      for warning in warnings { findings.warn(signing.place, warning) }
      return signer
    } catch {
      findings.error(signing.place, error.description, code: error.code)
      return nil
    }
  }

  /// Finds all that would make a delivery fail now.
  static func inspectDeliveries(_ settings: Settings, _ findings: Findings) {
    var known = Known(settings)
    inspect(settings) { delivery, place, folder in
      switch folder {
      case .success(let folder):
        inspectPlace(delivery, place, folder, &known, findings)
        for fault in faults(delivery, folder) { findings.error(place, fault) }
      case .failure(let failure): findings.error(place, failure.description)
      }
    }
  }

  private static func faults(_ delivery: Delivery, _ folder: Folder) -> [String] {
    var faults = ownershipFaults(delivery)
    switch delivery {
    case .file(let file) where file.inPlace: faults += inPlaceFaults(file, folder)
    case .file(let file): faults += replacementFaults(file, folder)
    case .socket(let socket):
      if let kind = try? folder.descriptor.status(of: socket.path.name).kind, kind != .socket {
        faults.append("\(socket.path): there is something other than a socket: remove it")
      }
    }
    if !isInPlace(delivery) {
      do { try folder.descriptor.checkWritable() } catch {
        faults.append("\(folder.path): \(user) cannot write there: \(error.reason)")
      }
    }
    return faults
  }

  /// What a delivery must not be: by inode, because a path can have several names.
  private struct Known {
    struct Inode: Hashable {
      let device: UInt64
      let inode: UInt64
    }
    struct Name: Hashable {
      let folder: Inode
      let name: Path
    }

    /// The files that jotd reads.
    let read: [Inode: String]
    /// The places of the deliveries so far.
    var taken: [Name: Place] = [:]

    init(_ settings: Settings) {
      var read: [Inode: String] = [:]
      var paths = settings.files.map { ($0, "the configuration") }
      if let secret = SecretReader(signing: settings.signing).path {
        paths.append((secret, "the secret"))
      }
      for (path, meaning) in paths {
        guard let status = try? FileSystem.status(of: path) else { continue }
        read[Inode(device: status.device, inode: status.inode)] = meaning
      }
      self.read = read
    }
  }

  private static func inspectPlace(
    _ delivery: Delivery, _ place: Place, _ folder: Folder, _ known: inout Known,
    _ findings: Findings
  ) {
    if let fault = stickyFault(delivery, folder) { findings.error(place, fault) }
    if let target = try? folder.descriptor.status(of: delivery.path.name),
      let meaning = known.read[Known.Inode(device: target.device, inode: target.inode)]
    {
      findings.error(place, "\(delivery.path) is \(meaning) itself: deliver elsewhere")
    }
    guard let status = try? folder.descriptor.status() else { return }
    let name = Known.Name(
      folder: Known.Inode(device: status.device, inode: status.inode),
      name: Path(delivery.path.name))
    if let first = known.taken[name], first != place {
      findings.error(place, "\(delivery.path) is the same file as the one delivered to in \(first)")
    }
    known.taken[name] = place
  }

  private static func inPlaceFaults(_ file: FileDelivery, _ folder: Folder) -> [String] {
    guard let kind = try? folder.descriptor.status(of: file.path.name).kind else {
      return ["\(file.path) is not there: in_place needs a file that is there already"]
    }
    if kind != .file { return ["\(file.path) is not a file"] }
    guard Accounts.own != 0, file.owner ?? Accounts.own != Accounts.own else { return [] }
    return [
      "\(file.path): with in_place, \(user) must stay the owner to write it again: "
        + "leave the owner out, and let the client's group read it"
    ]
  }

  private static func replacementFaults(_ file: FileDelivery, _ folder: Folder) -> [String] {
    if (try? folder.descriptor.isMountRoot(file.path.name)) == true {
      return [
        "\(file.path) is a mount point and cannot be renamed over: mount its folder instead, or "
          + "set in_place: true (readers can then see a torn file)"
      ]
    }
    do throws(SystemError) {
      try FileWriter.refuseOtherThanFile(file, folder)
      return []
    } catch { return [FileWriter.explain(error, file).description] }
  }

  private static func ownershipFaults(_ delivery: Delivery) -> [String] {
    guard !Hardening.mayChangeOwner else { return [] }
    var faults: [String] = []
    if let owner = delivery.owner, owner != Accounts.own {
      faults.append(
        "\(user) may not give \(delivery.path) to \(Accounts.describe(user: owner)): "
          + "it needs CAP_CHOWN")
    }
    if let group = delivery.group, !Accounts.ownGroups.contains(group) {
      faults.append(
        "\(user) may not give \(delivery.path) to the group with gid \(group): "
          + "it needs CAP_CHOWN, or to be in that group")
    }
    return faults
  }

  private static var user: String { Accounts.describe(user: Accounts.own) }

  private static func isInPlace(_ delivery: Delivery) -> Bool {
    if case .file(let file) = delivery { file.inPlace } else { false }
  }

  /// What is given away in a sticky folder could neither be replaced nor removed again.
  private static func stickyFault(_ delivery: Delivery, _ folder: Folder) -> String? {
    guard folder.isSticky, let owner = delivery.owner, owner != Accounts.own else { return nil }
    return
      "\(delivery.path): in a sticky folder such as \(folder.path) only files of jotd's own user "
      + "are safe: deliver elsewhere, or leave the owner out"
  }

  /// Opens the folder of each delivery, once for each folder.
  private static func inspect(
    _ settings: Settings, report: (Delivery, Place, Result<Folder, Failure>) -> Void
  ) {
    var folders: [Path: Result<Folder, Failure>] = [:]
    for (delivery, place) in settings.deliveryPlaces {
      let path = delivery.path.folder
      if case .failure? = folders[path] { continue }
      let folder = folders[path] ?? open(path)
      folders[path] = folder
      report(delivery, place, folder)
    }
  }

  private static func open(_ path: Path) -> Result<Folder, Failure> {
    do throws(Failure) { return .success(try Folder(path)) } catch { return .failure(error) }
  }
}
