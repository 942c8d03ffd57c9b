//! Devices that tensors are computed on, opened without a panic and described in words.
//!
//! What is here: the CPU (burn's flex) and, behind the feature `wgpu`, the first adapter that wgpu offers. A software
//! adapter (Mesa's lavapipe) is opened like any other and marked as such: it computes correctly and slowly, and
//! whether that will do is for the caller to say.

use crate::CoreError;
use burn::tensor::Device;
use std::fmt;
use std::str::FromStr;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceKind {
    /// The processor: burn's flex.
    #[default]
    Cpu,
    /// A GPU through wgpu.
    Wgpu,
}

/// What a device is, for logs and manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Kind that was asked for.
    pub kind: DeviceKind,
    /// Name of the adapter; `flex` for the CPU.
    pub name: String,
    /// Type of the adapter, such as `DiscreteGpu`, and its graphics interface, such as `Vulkan`.
    pub description: String,
    /// True for an adapter that computes on the processor (lavapipe, llvmpipe).
    pub is_software: bool,
}

/// A device ready for tensors.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// For burn's tensors.
    pub device: Device,
    /// What it is.
    pub info: DeviceInfo,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
        })
    }
}

impl FromStr for DeviceKind {
    type Err = CoreError;

    fn from_str(name: &str) -> Result<Self, CoreError> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu),
            _ => Err(CoreError::Device {
                asked: name.into(),
                reason: "known devices are 'cpu' and 'wgpu'".into(),
            }),
        }
    }
}

/// Opens a device; the same wgpu adapter is handed out each time.
///
/// # Errors
/// When no adapter is found, it refuses to open, or the program was built without the feature `wgpu`.
pub fn open(kind: DeviceKind) -> Result<OpenDevice, CoreError> {
    match kind {
        DeviceKind::Cpu => {
            let description = "CPU".into();
            let info = DeviceInfo {
                kind,
                name: "flex".into(),
                description,
                is_software: false,
            };
            Ok(OpenDevice {
                device: Device::flex(),
                info,
            })
        }
        DeviceKind::Wgpu => open_wgpu(),
    }
}

/// wgpu's runtime can be initialised once in a process, so its outcome is kept.
#[cfg(feature = "wgpu")]
fn open_wgpu() -> Result<OpenDevice, CoreError> {
    use burn::tensor::wgpu::wgpu::DeviceType;
    use std::sync::OnceLock;
    static OUTCOME: OnceLock<Result<OpenDevice, CoreError>> = OnceLock::new();
    let init = || {
        let (device, setup) = Device::wgpu_options()
            .init_with_setup()
            .map_err(|e| CoreError::Device {
                asked: "wgpu".into(),
                reason: e.to_string(),
            })?;
        let adapter = setup.adapter.get_info();
        let info = DeviceInfo {
            kind: DeviceKind::Wgpu,
            name: adapter.name,
            description: format!("{:?}, {:?}", adapter.device_type, adapter.backend),
            is_software: adapter.device_type == DeviceType::Cpu,
        };
        Ok(OpenDevice { device, info })
    };
    OUTCOME.get_or_init(init).clone()
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu() -> Result<OpenDevice, CoreError> {
    let reason = "this program was built without the feature 'wgpu'; build it with --features wgpu".into();
    Err(CoreError::Device {
        asked: "wgpu".into(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_read_back() {
        for kind in [DeviceKind::Cpu, DeviceKind::Wgpu] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!(matches!("tpu".parse::<DeviceKind>(), Err(CoreError::Device { asked, .. }) if asked == "tpu"));
    }

    #[test]
    fn the_cpu_opens_and_adds() {
        let cpu = open(DeviceKind::Cpu).unwrap();
        let sum = burn::tensor::Tensor::<1>::from_floats([1.0, 2.0, 4.0], &cpu.device).sum();
        assert_eq!(sum.try_into_scalar::<f32>().unwrap(), 7.0);
        assert!(!cpu.info.is_software);
    }
}
