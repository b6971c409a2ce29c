import Dispatch
import Rotation

/// Holds a configuration against the host that it is to run on. What touches the folders of
/// deliveries and sockets is done by workers, and waited for as long as something comes back:
/// a disk that hangs is reported, and the rest is judged.
struct Preflight {
  /// How much is asked of the host.
  enum Depth: Sendable {
    /// What no start accepts. What others can change on the host stops nobody but whom it concerns:
    /// a folder that is not there, or that others can replace, fails its deliveries, which try
    /// again.
    case start
    /// What no reload accepts: beside that, a folder in whose path others can replace things.
    case reload
    /// All that would make a delivery fail now.
    case check
  }

  private let settings: Settings
  private let depth: Depth
  private let diagnostics: Diagnostics

  /// Finds what is wrong with the folders of the deliveries and of the sockets, and warns of those
  /// who are allowed something and cannot be told.
  static func inspectPlaces(_ settings: Settings, _ depth: Depth, _ diagnostics: Diagnostics) {
    let inspection = Preflight(settings: settings, depth: depth, diagnostics: diagnostics)
    let mounts = MountTable()
    let reports = inspection.gather(mounts)
    inspection.judge(reports)
    inspection.inspectGroups()
    Access.inspect(settings, diagnostics)
    guard depth == .check else { return }
    AccessInspection.inspect(settings, reports.lazy.compactMap(\.way).first, diagnostics)
    HookInspection.inspect(settings, mounts.view, diagnostics)
  }

  /// Reads the secrets and the rings of keys, and finds what is wrong or weak about them; nil after
  /// an error. Those that only the service can see are passed over in a check, with a warning, and
  /// then it is nil, too. A ring without a key makes its first one, unless `inUse` is nil: then
  /// nothing is changed. Of those that are in use, nothing is read. What their tokens will be like
  /// is held against `max_bytes`.
  @discardableResult
  static func inspectKeys(
    _ settings: Settings, _ depth: Depth, inUse: RingsInUse? = nil, _ diagnostics: Diagnostics
  ) -> (keys: Keys, rings: [LoadedRing])? {
    var rings: [LoadedRing] = []
    SecretLoader.takeVariables(of: settings.keys.map(\.settings))
    // A reload asks once more; who only wants to know what it would do, asks no device.
    let asksDevices = depth != .reload || inUse != nil
    if depth == .reload, asksDevices, diagnostics.errors.isEmpty { DeviceRecords.forgetRefusals() }
    let devices = asksDevices ? DeviceInspection(settings, depth) : nil
    let keys = settings.keys.map { key -> Key? in
      if let generated = key.settings.generated {
        if let used = inUse?[key.settings.label.name], used.folder == generated.folder {
          return used.key.published(at: key.settings.publication)
        }
        guard
          let (ring, made) = inspectRing(key, settings, mayMake: inUse != nil, diagnostics)
        else { return nil }
        rings.append(ring)
        return made
      }
      if let secret = key.settings.secret, case .uri(let uri) = secret.source {
        return devices.flatMap { inspectDevice($0, uri, secret, of: key, depth, diagnostics) }
      }
      return key.settings.key(
        zip(key.settings.secrets, key.locations).map { secret, location in
          guard depth != .check || !SecretLoader.isOutOfReach(secret) else {
            diagnostics.warn(
              location, "\(secret) is there only inside the service: it was not checked")
            return nil
          }
          return inspect(secret, of: key.settings, at: location, diagnostics)
        })
    }
    for (index, (key, settings)) in zip(keys, settings.keys).enumerated() {
      let before = Keys(keys[..<index].compactMap(\.self))
      guard let key, let location = settings.locations.first,
        let signing = key.signing, let fault = before.fault(of: signing, as: key.name)
      else { continue }
      diagnostics.error(location, fault)
    }
    let all = keys.compactMap(\.self)
    inspectBudgets(settings, all, depth, diagnostics)
    return all.count == keys.count ? (Keys(all), rings) : nil
  }

  /// A key in a device. What does not answer may yet: only a check takes that for an error.
  private static func inspectDevice(
    _ devices: DeviceInspection, _ uri: KeyURI, _ secret: SecretSettings, of key: Settings.Key,
    _ depth: Depth, _ diagnostics: Diagnostics
  ) -> Key? {
    guard let location = key.locations.first else { return nil }
    guard depth != .check || !SecretLoader.isOutOfReach(secret) else {
      diagnostics.warn(
        location, "\(secret) takes what is there only inside the service: it was not checked")
      return nil
    }
    let source: Result<any Signer, Failure>
    switch devices.signer(of: key.settings, at: uri) {
    case .success(let signer): source = .success(signer)
    case .failure(.unreachable(let failure)) where depth != .check: source = .failure(failure)
    case .failure(let fault):
      let failure = fault.failure
      diagnostics.error(location, failure.description, isTransient: failure.isTransient)
      return nil
    }
    return Key(
      name: key.settings.label.name, source: source, publication: key.settings.publication)
  }

  private static func inspectRing(
    _ key: Settings.Key, _ settings: Settings, mayMake: Bool, _ diagnostics: Diagnostics
  ) -> (LoadedRing, Key)? {
    guard let generated = key.settings.generated, let location = key.locations.first else {
      return nil
    }
    let life = settings.longestLife(ofKey: key.settings.label.name)
    if let fault = generated.fault(longestLife: life) {
      diagnostics.error(location, "\(key.settings.path).generate: \(fault)")
    }
    // A configuration that is refused makes no key.
    guard diagnostics.errors.isEmpty || !mayMake else { return nil }
    var warnings: [String] = []
    defer { for warning in warnings { diagnostics.warn(location, warning) } }
    do throws(Failure) {
      guard
        var ring = try LoadedRing(
          reading: key.settings, longestLife: life, isOwner: mayMake, &warnings)
      else { return nil }
      guard mayMake else {
        try ring.folder.checkWritable()
        return nil
      }
      try ring.begin()
      return (ring, try ring.key())
    } catch {
      diagnostics.error(location, error.description, isTransient: error.isTransient)
      return nil
    }
  }

  private static func inspect(
    _ secret: SecretSettings, of key: KeySettings, at location: SourceLocation,
    _ diagnostics: Diagnostics
  ) -> (any Signer)? {
    do throws(Failure) {
      let (signer, warnings) = try SecretLoader(key: key).signer(secret)
      for warning in warnings { diagnostics.warn(location, warning) }
      return signer
    } catch {
      diagnostics.error(location, error.description, isTransient: error.isTransient)
      return nil
    }
  }

  // MARK: What the workers find

  /// One report for each folder; the folders that did not answer have none.
  private func gather(_ mounts: MountTable) -> [FolderReport] {
    let inspections = folders(mounts.view)
    let arrived = DispatchSemaphore(value: 0)
    let pool = WorkerPool<FolderInspection, FolderReport>(
      makeWorker: { { $0.report() } }, notify: { arrived.signal() })
    pool.submit(inspections.map { (mounts.place(of: $0.path), $0) })
    var reports: [FolderReport] = []
    var silent: [Path: FolderInspection] = [:]
    while reports.count + silent.count < inspections.count {
      if arrived.wait(timeout: .now() + Limits.stallTimeout.interval) == .timedOut {
        for inspection in pool.findStalled() { silent[inspection.path] = inspection }
      }
      for (inspection, report) in pool.collect() {
        silent[inspection.path] = nil
        reports.append(report)
      }
    }
    pool.close()
    for inspection in silent.values { report(silent: inspection) }
    return reports
  }

  private func report(silent folder: FolderInspection) {
    let text =
      "\(folder.path) does not answer: is its file system, or the disk under it, in trouble? "
      + "What is delivered there was not checked"
    for location in folder.deliveries.map(\.location) + folder.sockets.map(\.location) {
      if depth == .check {
        diagnostics.error(location, text)
      } else {
        diagnostics.warn(location, text)
      }
    }
  }

  private func folders(_ mounts: MountView) -> [FolderInspection] {
    let known = FilesRead(settings)
    var order: [Path] = []
    var found: [Path: FolderInspection] = [:]
    func add(_ path: Path, _ edit: (inout FolderInspection) -> Void) {
      if found[path] == nil {
        order.append(path)
        found[path] = FolderInspection(
          path: path, depth: depth, filesRead: known, mounts: mounts)
      }
      edit(&found[path]!)
    }
    for (index, (delivery, location)) in settings.deliveryLocations.enumerated() {
      add(delivery.path.folder) {
        $0.deliveries.append(
          FolderInspection.Target(index: index, delivery: delivery, location: location))
      }
    }
    for socket in settings.socket?.locations ?? [] {
      add(socket.path.folder) { $0.sockets.append(socket) }
    }
    return order.compactMap { found[$0] }
  }

  // MARK: What they mean together

  private func judge(_ reports: [FolderReport]) {
    // What could be meant is worth saying once the document says what is meant.
    if diagnostics.errors.isEmpty {
      for warning in reports.flatMap(\.warnings) {
        diagnostics.warn(warning.location, warning.text)
      }
    }
    var isOnDisk = [Bool](repeating: false, count: settings.deliveryLocations.count)
    for report in reports {
      for fault in report.faults {
        diagnostics.error(fault.location, fault.text, isTransient: fault.isTransient)
      }
      for index in report.onDisk { isOnDisk[index] = true }
    }
    refuseSameFiles(reports)
    warnOfDisks(isOnDisk)
  }

  /// Refuses two paths of one file: names that are the same, of paths that lead to one folder.
  private func refuseSameFiles(_ reports: [FolderReport]) {
    let opened = reports.filter { $0.id != nil }
    for same in Dictionary(grouping: opened, by: \.id).values where same.count > 1 {
      var taken: [Path: SourceLocation] = [:]
      for target in same.flatMap(\.deliveries).sorted(by: { $0.index < $1.index }) {
        let name = Path(target.delivery.path.name)
        if let first = taken[name] {
          diagnostics.error(
            target.location,
            "\(target.delivery.path) is the same file as the one delivered to in \(first)")
        }
        taken[name] = target.location
      }
    }
  }

  /// Tokens that are minted together come due together: a disk has to take them all in the time
  /// between a rotation and its threshold.
  private func warnOfDisks(_ isOnDisk: [Bool]) {
    guard isOnDisk.contains(true) else { return }
    let needed = Limits.diskTime * isOnDisk.count(where: \.self)
    var leads: [Path: (identity: Identity, lead: Duration)] = [:]
    for identity in settings.identities where identity.leastLead < needed {
      for delivery in identity.deliveries {
        leads[delivery.path] = (identity, identity.leastLead)
      }
    }
    var warned: Set<String> = []
    for (isOnDisk, (delivery, location)) in zip(isOnDisk, settings.deliveryLocations) where isOnDisk
    {
      guard let (identity, lead) = leads[delivery.path], warned.insert(identity.name).inserted
      else { continue }
      diagnostics.warn(
        location,
        "\(delivery.path) is on a disk, and \(identity.name)'s tokens are replaced only "
          + "\(lead.timeSpan) before their threshold: a disk can take \(needed.timeSpan) to write "
          + "all files that are delivered to disks. Deliver below /run, which is in memory, or let "
          + "the tokens live longer")
    }
  }

  private func inspectGroups() {
    guard let socket = settings.socket, let group = socket.group,
      let fault = Ownership.fault(group: group, at: socket.path)
    else { return }
    diagnostics.error(socket.groupLocation ?? socket.location, fault)
  }
}
