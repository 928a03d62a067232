"""List the node classes that a tenant's own workflow may use on servers that tenants share.

Each is a class of ComfyUI itself that reads and writes nothing by name, but for the loaders of base
models, which all tenants share, and the savers, whose prefix is ours. Left out for a reason: what
reads or writes files (Load*, Save* of models, *DataSet*, hooks, training, 3D, audio, webcam), what
calls paid services (API nodes), what joins texts to names that nobody saw (String*, Regex*), and
custom nodes, which may do anything. COMFYUI_TENANT_NODES adds to them. Source: nodes.py and
comfy_extras/ of ComfyUI 0.3.64.
"""

IMAGE_SAVERS = frozenset({"SaveImage"})
VIDEO_SAVERS = frozenset({"SaveVideo", "SaveWEBM"})
OTHER_SAVERS = frozenset({"SaveAnimatedWEBP", "PreviewImage", "MaskPreview", "SaveImageWebsocket"})
"""What they make is not an output of a job."""

_LOADERS = """
    CheckpointLoaderSimple ImageOnlyCheckpointLoader UNETLoader CLIPLoader DualCLIPLoader
    TripleCLIPLoader QuadrupleCLIPLoader VAELoader CLIPVisionLoader ControlNetLoader
    DiffControlNetLoader StyleModelLoader UpscaleModelLoader
"""
_TEXT_AND_CONDITIONING = """
    CLIPTextEncode CLIPTextEncodeFlux CLIPTextEncodeSD3 CLIPTextEncodeSDXL
    CLIPTextEncodeSDXLRefiner CLIPSetLastLayer CLIPAttentionMultiply CLIPVisionEncode
    ConditioningAverage ConditioningCombine ConditioningConcat ConditioningSetArea
    ConditioningSetAreaPercentage ConditioningSetAreaPercentageVideo ConditioningSetAreaStrength
    ConditioningSetMask ConditioningSetTimestepRange ConditioningZeroOut ControlNetApply
    ControlNetApplyAdvanced ControlNetApplySD3 FluxDisableGuidance FluxGuidance
    InpaintModelConditioning InstructPixToPixConditioning ReferenceLatent SetUnionControlNetType
    SD_4XUpscale_Conditioning SVD_img2vid_Conditioning StyleModelApply unCLIPConditioning
"""
_MODEL = """
    CFGNorm CFGZeroStar DifferentialDiffusion EasyCache FreSca FreeU FreeU_V2 HyperTile LazyCache
    Mahiro ModelSamplingAuraFlow ModelSamplingContinuousEDM ModelSamplingContinuousV
    ModelSamplingDiscrete ModelSamplingFlux ModelSamplingSD3 PatchModelAddDownscale PerpNeg
    PerturbedAttentionGuidance RenormCFG RescaleCFG SelfAttentionGuidance SkipLayerGuidanceDiT
    SkipLayerGuidanceDiTSimple SkipLayerGuidanceSD3 TCFG TomePatchModel UNetCrossAttentionMultiply
    UNetSelfAttentionMultiply UNetTemporalAttentionMultiply VideoLinearCFGGuidance
    VideoTriangleCFGGuidance
"""
_SAMPLING = """
    AddNoise AlignYourStepsScheduler BasicGuider BasicScheduler BetaSamplingScheduler CFGGuider
    DisableNoise DualCFGGuider ExponentialScheduler FlipSigmas KSampler KSamplerAdvanced
    KSamplerSelect KarrasScheduler LaplaceScheduler PerpNegGuider PolyexponentialScheduler
    RandomNoise SamplerCustom SamplerCustomAdvanced SamplerDPMPP_2M_SDE SamplerDPMPP_2S_Ancestral
    SamplerDPMPP_3M_SDE SamplerDPMPP_SDE SamplerEulerAncestral SamplerLMS SDTurboScheduler
    SetFirstSigma SplitSigmas SplitSigmasDenoise VPScheduler
"""
_LATENT = """
    EmptyLatentImage EmptySD3LatentImage LatentAdd LatentApplyOperation LatentApplyOperationCFG
    LatentBatch LatentBatchSeedBehavior LatentBlend LatentComposite LatentCompositeMasked
    LatentConcat LatentCrop LatentCut LatentFlip LatentFromBatch LatentInterpolate LatentMultiply
    LatentOperationSharpen LatentOperationTonemapReinhard LatentRotate LatentSubtract LatentUpscale
    LatentUpscaleBy RebatchLatents RepeatLatentBatch SetLatentNoiseMask VAEDecode VAEDecodeTiled
    VAEEncode VAEEncodeForInpaint VAEEncodeTiled
"""
_IMAGE_AND_MASK = """
    Canny CreateVideo CropMask EmptyImage FeatherMask GetImageSize GetVideoComponents GrowMask
    ImageAddNoise ImageBatch ImageBlend ImageBlur ImageColorToMask ImageCompositeMasked ImageCrop
    ImageFlip ImageFromBatch ImageInvert ImagePadForOutpaint ImageQuantize ImageRGBToYUV ImageRotate
    ImageScale ImageScaleBy ImageScaleToMaxDimension ImageScaleToTotalPixels ImageSharpen
    ImageStitch ImageToMask ImageUpscaleWithModel ImageYUVToRGB InvertMask JoinImageWithAlpha
    MaskComposite MaskToImage Morphology PorterDuffImageComposite RebatchImages RepeatImageBatch
    ResizeAndPadImage SolidMask SplitImageWithAlpha ThresholdMask
"""
_PRIMITIVES = (
    "PrimitiveBoolean PrimitiveFloat PrimitiveInt PrimitiveString PrimitiveStringMultiline"
)

BASE_MODEL_LOADERS = frozenset(_LOADERS.split())
TENANT_NODES = (
    IMAGE_SAVERS
    | VIDEO_SAVERS
    | OTHER_SAVERS
    | BASE_MODEL_LOADERS
    | frozenset(_TEXT_AND_CONDITIONING.split())
    | frozenset(_MODEL.split())
    | frozenset(_SAMPLING.split())
    | frozenset(_LATENT.split())
    | frozenset(_IMAGE_AND_MASK.split())
    | frozenset(_PRIMITIVES.split())
)
