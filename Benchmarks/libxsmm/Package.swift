// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "libxsmm-yardstick",
    // The folders of the main package that are used stand under Sources as symbolic links: so the
    // peaks, the shapes and the report are the same.
    targets: [
        .target(name: "CNanoKernels"),
        .target(name: "CNanoSystem"),
        .target(name: "NanoDevice", dependencies: ["CNanoKernels", "CNanoSystem"]),
        // Debian has static libraries only; the second stands in for a BLAS.
        .target(
            name: "CLibXSMM",
            linkerSettings: [.linkedLibrary("xsmm"), .linkedLibrary("xsmmnoblas")]),
        .executableTarget(name: "LibXSMMYardstick", dependencies: ["CLibXSMM", "NanoDevice"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c17
)

for target in package.targets {
    if target.name.hasPrefix("C") {
        target.cSettings = [.treatAllWarnings(as: .error)]
    } else {
        target.swiftSettings = [
            .enableUpcomingFeature("ExistentialAny"),
            .enableUpcomingFeature("InternalImportsByDefault"),
            .enableUpcomingFeature("MemberImportVisibility"),
            .treatAllWarnings(as: .error),
        ]
    }
}
