import Rotation

/// What a worker does at the places of deliveries.
enum DeliveryWork: Sendable {
  case job(Job)
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

  /// The folder that it works in; for a sweep another name, so that no delivery waits for it.
  var folder: Path {
    switch self {
    case .job(let job): job.folder
    case .sweep(let folder, _): Path("\(folder)/*.jotd")
    }
  }
}
