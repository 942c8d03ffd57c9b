//! Devices: the processor and the adapters that wgpu finds, named, chosen and opened without a panic.
//!
//! On the processor burn computes with flex; on an adapter the engine `kernels` and burn share one wgpu device. A software
//! adapter (Mesa's lavapipe) is listed and can be asked for by its number; `auto` never takes it, because the processor is
//! faster without it.

use crate::CoreError;
use burn::tensor::Device;
use std::fmt;
use std::str::FromStr;

/// Which device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first discrete GPU, else the first other GPU, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The adapter of that number in the list of [`adapters`], or the one that `Auto` would take, or a software one.
    Wgpu(Option<usize>),
}

/// What an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterKind {
    /// A graphics card of its own.
    Discrete,
    /// Part of the processor's package.
    Integrated,
    /// Passed through to a virtual machine.
    Virtual,
    /// Computes on the processor: lavapipe, llvmpipe.
    Software,
    /// Not told by the driver.
    Other,
}

/// An adapter that wgpu finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Number in the list, for `wgpu:N`.
    pub index: usize,
    /// Name, e.g. "NVIDIA H100 80GB HBM3".
    pub name: String,
    /// What it is.
    pub kind: AdapterKind,
    /// Place among the adapters of its kind.
    index_of_kind: usize,
    /// Graphics interface, e.g. "Vulkan".
    pub interface: String,
    /// Driver and its version, as the driver tells them.
    pub driver: String,
}

/// A device ready for use.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// For burn's tensors.
    pub device: Device,
    /// The adapter; none on the processor.
    pub adapter: Option<Adapter>,
    /// Why it was taken, one sentence.
    pub reason: String,
}

impl OpenDevice {
    /// For manifests and tables: `cpu`, or the adapter's name and interface.
    pub fn name(&self) -> String {
        match &self.adapter {
            None => "cpu".to_owned(),
            Some(adapter) => format!("{} ({})", adapter.name, adapter.interface),
        }
    }

    fn cpu(reason: impl Into<String>) -> Self {
        Self {
            device: Device::flex(),
            adapter: None,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "virtual GPU",
            Self::Software => "software",
            Self::Other => "other",
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(index)) => write!(f, "wgpu:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = CoreError;

    fn from_str(name: &str) -> Result<Self, CoreError> {
        let known = match name {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "wgpu" => Some(Self::Wgpu(None)),
            _ => name
                .strip_prefix("wgpu:")
                .and_then(|index| index.parse().ok())
                .map(|index| Self::Wgpu(Some(index))),
        };
        known.ok_or_else(|| CoreError::Device {
            asked: name.into(),
            reason: "known devices are 'auto', 'cpu', 'wgpu' and 'wgpu:N'; `snnfit devices` lists the adapters".into(),
        })
    }
}

/// The adapter that is taken when none is named: GPUs before software, discrete ones first.
fn best(adapters: &[Adapter], with_software: bool) -> Option<&Adapter> {
    let rank = |kind: AdapterKind| match kind {
        AdapterKind::Discrete => Some(0),
        AdapterKind::Virtual => Some(1),
        AdapterKind::Integrated => Some(2),
        AdapterKind::Other => Some(3),
        AdapterKind::Software => with_software.then_some(4),
    };
    adapters
        .iter()
        .filter_map(|adapter| Some((rank(adapter.kind)?, adapter)))
        .min_by_key(|(rank, adapter)| (*rank, adapter.index))
        .map(|(_, adapter)| adapter)
}

/// What `Auto` takes of these adapters (none: the processor), and why.
pub fn automatic(adapters: &[Adapter]) -> (Option<&Adapter>, String) {
    if let Some(adapter) = best(adapters, false) {
        return (Some(adapter), format!("{} is the first {}", adapter.name, adapter.kind));
    }
    let reason = match adapters.first() {
        None => "no adapter was found; computing on the processor".to_owned(),
        Some(software) => format!(
            "the only adapter, {}, computes in software; computing on the processor, which is faster without it",
            software.name
        ),
    };
    (None, reason)
}

/// Opens a device; the same adapter is handed out each time.
///
/// # Errors
/// An adapter that was asked for and isn't there or doesn't open. `Auto` falls back to the processor instead.
pub fn open(choice: DeviceChoice) -> Result<OpenDevice, CoreError> {
    let unavailable = |reason: String| CoreError::Device {
        asked: choice.to_string(),
        reason,
    };
    match choice {
        DeviceChoice::Cpu => Ok(OpenDevice::cpu("the processor was asked for")),
        DeviceChoice::Auto => {
            let adapters = adapters();
            Ok(match automatic(&adapters) {
                (None, reason) => OpenDevice::cpu(reason),
                (Some(adapter), reason) => wgpu::open(adapter, reason)
                    .unwrap_or_else(|error| OpenDevice::cpu(format!("{error}; computing on the processor"))),
            })
        }
        DeviceChoice::Wgpu(index) => {
            let adapters = adapters();
            let found = match index {
                Some(index) => adapters.get(index),
                None => best(&adapters, true),
            };
            let adapter = found.ok_or_else(|| unavailable(wgpu::none_found(adapters.len())))?;
            wgpu::open(adapter, "it was asked for".to_owned())
        }
    }
}

/// Adapters that wgpu finds, on the first graphics interface that has a GPU, else on the first that has any.
pub fn adapters() -> Vec<Adapter> {
    wgpu::adapters()
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use super::{Adapter, AdapterKind, OpenDevice};
    use crate::CoreError;
    use burn::tensor::{Device, DeviceKind};
    use cubecl::wgpu::wgpu::{self, Adapter as Found, Backend, DeviceType, Instance, InstanceDescriptor};
    use cubecl::wgpu::{AutoGraphicsApi, RuntimeOptions, WgpuDevice, WgpuDeviceKind, try_init_setup};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    /// In the order in which cubecl asks them. OpenGL is left out: where it is all there is, its drivers complain on
    /// stderr, and its GPUs are slower than the processor.
    #[cfg(target_os = "macos")]
    const INTERFACES: &[Backend] = &[Backend::Metal];
    #[cfg(not(target_os = "macos"))]
    const INTERFACES: &[Backend] = &[Backend::Vulkan, Backend::Dx12];

    /// Looked for once in a process: drivers don't come and go, and some don't bear instances that come and go on several
    /// threads.
    pub(super) fn adapters() -> Vec<Adapter> {
        static FOUND: OnceLock<Vec<Adapter>> = OnceLock::new();
        FOUND.get_or_init(find).clone()
    }

    fn find() -> Vec<Adapter> {
        let mut software = Vec::new();
        for &interface in INTERFACES {
            let instance = Instance::new(InstanceDescriptor {
                backends: interface.into(),
                ..InstanceDescriptor::new_without_display_handle()
            });
            let found = cubecl::future::block_on(instance.enumerate_adapters(interface.into()));
            let adapters = describe(&found);
            if adapters.iter().any(|a| a.kind != AdapterKind::Software) {
                return adapters;
            }
            if software.is_empty() {
                software = adapters;
            }
        }
        software
    }

    /// What wgpu said when a device had no memory left.
    static OUT_OF_MEMORY: Mutex<Option<String>> = Mutex::new(None);

    /// Ends the task of cubecl's device thread in which wgpu fails; cubecl passes the failure on to whoever reads what the
    /// task was to write. As cubecl's own handler, but memory that ran out is noted and not announced as a bug.
    pub(super) fn fail(error: &wgpu::Error) {
        let text = format!("wgpu error: {error}");
        if matches!(error, wgpu::Error::OutOfMemory { .. }) || super::says_out_of_memory(&text) {
            *OUT_OF_MEMORY.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
            std::panic::resume_unwind(Box::new(text));
        }
        // What follows from a device that is lost is told by the next read.
        assert!(text.contains("is lost"), "{text}");
    }

    pub(super) fn take_out_of_memory() -> Option<String> {
        OUT_OF_MEMORY.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn describe(found: &[Found]) -> Vec<Adapter> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut adapters = Vec::new();
        for (index, adapter) in found.iter().enumerate() {
            let info = adapter.get_info();
            let (name, kind) = match info.device_type {
                DeviceType::DiscreteGpu => ("discrete", AdapterKind::Discrete),
                DeviceType::IntegratedGpu => ("integrated", AdapterKind::Integrated),
                DeviceType::VirtualGpu => ("virtual", AdapterKind::Virtual),
                DeviceType::Cpu => ("software", AdapterKind::Software),
                DeviceType::Other => ("other", AdapterKind::Other),
            };
            let count = seen.entry(name).or_default();
            adapters.push(Adapter {
                index,
                name: info.name,
                kind,
                index_of_kind: *count,
                interface: format!("{:?}", info.backend),
                driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            });
            *count += 1;
        }
        adapters
    }

    pub(super) fn none_found(n: usize) -> String {
        match n {
            0 => {
                "no adapter was found; install a Vulkan driver (Debian: mesa-vulkan-drivers computes in software), or \
                  compute on the processor"
                    .to_owned()
            }
            1 => "there is one adapter, number 0; `snnfit devices` lists it".to_owned(),
            n => format!(
                "there are {n} adapters, numbers 0 to {}; `snnfit devices` lists them",
                n - 1
            ),
        }
    }

    /// As cubecl names the adapter.
    pub(super) fn device_of(adapter: &Adapter) -> WgpuDevice {
        let n = adapter.index_of_kind;
        WgpuDevice::new(match adapter.kind {
            AdapterKind::Discrete => WgpuDeviceKind::DiscreteGpu(n),
            AdapterKind::Integrated => WgpuDeviceKind::IntegratedGpu(n),
            AdapterKind::Virtual => WgpuDeviceKind::VirtualGpu(n),
            AdapterKind::Software => WgpuDeviceKind::Cpu,
            AdapterKind::Other => WgpuDeviceKind::Other(n),
        })
    }

    /// wgpu's runtime can be initialised once in a process for each adapter, so outcomes are kept.
    pub(super) fn open(adapter: &Adapter, reason: String) -> Result<OpenDevice, CoreError> {
        static OPENED: Mutex<BTreeMap<String, Option<String>>> = Mutex::new(BTreeMap::new());
        let failed = |reason: String| CoreError::Device {
            asked: format!("wgpu:{}", adapter.index),
            reason: format!("{}: {reason}", adapter.name),
        };
        let device = device_of(adapter);
        let burn_kind = match adapter.kind {
            AdapterKind::Discrete => DeviceKind::DiscreteGpu(adapter.index_of_kind),
            AdapterKind::Integrated => DeviceKind::IntegratedGpu(adapter.index_of_kind),
            AdapterKind::Virtual => DeviceKind::VirtualGpu(adapter.index_of_kind),
            AdapterKind::Software => DeviceKind::Cpu,
            AdapterKind::Other => {
                return Err(failed(
                    "its driver doesn't tell whether it is a GPU, and it can't be opened".into(),
                ));
            }
        };
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let error = opened.entry(format!("{device:?}")).or_insert_with(|| {
            let options = RuntimeOptions::try_default().map_err(|e| e.to_string());
            options
                .and_then(|options| try_init_setup::<AutoGraphicsApi>(&device, options).map_err(|e| e.to_string()))
                .map(|setup| setup.device.on_uncaptured_error(Arc::new(|error| fail(&error))))
                .err()
        });
        match error {
            Some(error) => Err(failed(error.clone())),
            None => Ok(OpenDevice {
                device: Device::wgpu(burn_kind),
                adapter: Some(adapter.clone()),
                reason,
            }),
        }
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod failures {
    use super::wgpu::{fail, take_out_of_memory};
    use cubecl::wgpu::wgpu::Error;
    use std::panic::catch_unwind;

    #[test]
    fn memory_that_ran_out_is_noted_once_and_ends_the_task_and_a_lost_device_does_not() {
        let nothing = || Box::new(std::io::Error::other("driver"));
        let ended = catch_unwind(|| fail(&Error::OutOfMemory { source: nothing() }));
        assert!(ended.is_err());
        assert!(take_out_of_memory().is_some_and(|reason| reason.contains("Out of Memory")));
        assert_eq!(take_out_of_memory(), None);
        let validation = |description: &str| Error::Validation {
            source: nothing(),
            description: description.to_owned(),
        };
        let lost = validation("Parent device is lost");
        fail(&lost);
        assert_eq!(take_out_of_memory(), None);
    }
}

#[cfg(not(feature = "wgpu"))]
mod wgpu {
    use super::{Adapter, OpenDevice};
    use crate::CoreError;

    pub(super) fn adapters() -> Vec<Adapter> {
        Vec::new()
    }

    pub(super) fn none_found(_: usize) -> String {
        "this program was built without the feature 'wgpu'; build it with --features wgpu".to_owned()
    }

    pub(super) fn open(_: &Adapter, _: String) -> Result<OpenDevice, CoreError> {
        Err(CoreError::Device {
            asked: "wgpu".into(),
            reason: none_found(0),
        })
    }
}

/// What wgpu said when a device had no memory left, since this was last asked.
#[cfg(feature = "wgpu")]
pub(crate) fn take_out_of_memory() -> Option<String> {
    wgpu::take_out_of_memory()
}

/// Whether the text of an error of wgpu, cubecl or a driver is about memory that ran out.
#[cfg(feature = "wgpu")]
pub(crate) fn says_out_of_memory(text: &str) -> bool {
    let text = text.to_lowercase();
    [
        "out of memory",
        "out of device memory",
        "outofmemory",
        "not enough memory",
        "out_of_device_memory",
    ]
    .iter()
    .any(|known| text.contains(known))
}

/// The engine `kernels` on an open device; none on the processor.
#[cfg(feature = "wgpu")]
pub fn kernels(device: &OpenDevice) -> Option<crate::rollout::kernels::Kernels> {
    let adapter = device.adapter.as_ref()?;
    let client = cubecl::Device::Wgpu(wgpu::device_of(adapter)).client();
    Some(crate::rollout::kernels::Kernels::new(client, adapter.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for choice in [
            DeviceChoice::Auto,
            DeviceChoice::Cpu,
            DeviceChoice::Wgpu(None),
            DeviceChoice::Wgpu(Some(3)),
        ] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for bad in ["tpu", "wgpu:", "wgpu:-1", "wgpu:x", ""] {
            assert!(matches!(bad.parse::<DeviceChoice>(), Err(CoreError::Device { asked, .. }) if asked == bad));
        }
    }

    #[test]
    fn a_discrete_gpu_comes_first_and_software_only_when_asked_for() {
        let adapter = |index, kind| Adapter {
            index,
            name: format!("adapter {index}"),
            kind,
            index_of_kind: 0,
            interface: "Vulkan".into(),
            driver: String::new(),
        };
        let all = [
            adapter(0, AdapterKind::Software),
            adapter(1, AdapterKind::Integrated),
            adapter(2, AdapterKind::Discrete),
            adapter(3, AdapterKind::Discrete),
        ];
        assert_eq!(best(&all, false).map(|a| a.index), Some(2));
        assert_eq!(best(&all[..2], false).map(|a| a.index), Some(1));
        assert_eq!(best(&all[..1], false), None);
        assert_eq!(best(&all[..1], true).map(|a| a.index), Some(0));
        assert_eq!(best(&[], true), None);
    }

    #[test]
    #[cfg(feature = "wgpu")]
    fn errors_about_memory_are_known_by_their_text() {
        for text in [
            "wgpu error: Out of Memory",
            "out of device memory allocating 4096 bytes",
            "Unknown: Not enough memory left.",
            "ERROR_OUT_OF_DEVICE_MEMORY",
        ] {
            assert!(says_out_of_memory(text), "{text}");
        }
        assert!(!says_out_of_memory("wgpu error: Validation Error: buffer is invalid"));
    }

    #[test]
    fn the_cpu_opens_and_adds() {
        let cpu = open(DeviceChoice::Cpu).unwrap();
        let sum = burn::tensor::Tensor::<1>::from_floats([1.0, 2.0, 4.0], &cpu.device).sum();
        assert_eq!(sum.try_into_scalar::<f32>().unwrap(), 7.0);
        assert_eq!((cpu.name().as_str(), cpu.adapter), ("cpu", None));
    }
}
