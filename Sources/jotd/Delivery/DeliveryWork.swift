import Rotation

/// What a worker does: at the places of deliveries, and with keys that sign elsewhere.
enum DeliveryWork: Sendable {
  case job(Job)
  case sign(SigningJob)
  /// Remove the temporary files that a crash left in a folder; `stems` are those of its deliveries.
  case sweep(Path, stems: Set<[UInt8]>)

  /// What removes the temporary files beside all deliveries, one piece of work for each folder.
  static func sweeps(_ settings: Settings) -> [DeliveryWork] {
    var stems: [Path: Set<[UInt8]>] = [:]
    for case .file(let file) in settings.deliveryLocations.lazy.map(\.delivery) {
      stems[file.path.folder, default: []].insert(Array(TemporaryName.stem(file.path.name).utf8))
    }
    return stems.map { .sweep($0.key, stems: $0.value) }
  }

  /// What it waits for. A sweep has a place of its own, so that no delivery waits for it.
  func place(_ mounts: MountTable) -> WorkPlace {
    switch self {
    case .job(let job): mounts.place(of: job.folder)
    case .sign(let job):
      // Not a folder, but told from all: what hangs holds up its key, and much of it its device.
      WorkPlace(
        folder: Path("key \(job.key)"),
        fileSystem: "device \((job.signer as? DeviceSigner)?.device ?? job.key)",
        isInMemory: false)
    case .sweep(let folder, _): mounts.place(of: Path("\(folder)/*.jotd"))
    }
  }
}
