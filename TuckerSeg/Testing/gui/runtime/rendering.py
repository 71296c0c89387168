"""Pictures of the scene without a display: slice views with overlays, and a 3D view, as Slicer's own displayable
managers draw them.

Needs EGL (libegl1 and a driver such as libgl1-mesa-dri). Without it VTK ends the process at the first render, so
:func:`why_not` tries it in a child first.
"""

import functools
import os
import subprocess
import sys

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer
import vtk

ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
SLICE_MANAGERS = ("vtkMRMLModelSliceDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D")
VIEW_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager3D", "vtkMRMLModelDisplayableManager")
PROBE = (
    "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.AddRenderer(vtk.vtkRenderer());"
    "w.Render(); print('rendered')"
)


@functools.cache
def why_not() -> str:
    """Why nothing can be rendered here; empty where it can."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, encoding="utf-8", timeout=600)
    if "rendered" in done.stdout:
        return ""
    return f"VTK cannot render without a display here (exit code {done.returncode}): install libegl1 and Mesa's drivers"


def slice_picture(path, volume_node, orientation="Axial", center=None, size=(480, 480)):
    """Draw one slice of a volume with all visible segmentations to a PNG file.

    Args:
        center: Point in RAS mm that the slice goes through; None takes the volume's middle.
    """
    scene, application = slicer.mrmlScene, slicer.app.applicationLogic()
    node = scene.CreateNodeByClass("vtkMRMLSliceNode")
    node.UnRegister(None)
    node.SetName(orientation)
    node.SetLayoutName(orientation)
    node = scene.AddNode(node)
    node.SetOrientation(orientation)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    logic.SetSliceNode(node)
    application.GetSliceLogics().AddItem(logic)
    composite = logic.GetSliceCompositeNode()
    composite.SetBackgroundVolumeID(volume_node.GetID())
    node.SetDimensions(*size, 1)
    window, renderer = _window(size)
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    group = _managers(factory, SLICE_MANAGERS, renderer, node)
    logic.FitSliceToAll()
    if center is not None:
        node.JumpSliceByCentering(*center)
        logic.FitSliceToAll()
        node.JumpSliceByOffsetting(*center)
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    renderer.AddViewProp(actor)
    _write(window, path)
    group.SetMRMLDisplayableNode(None)
    application.GetSliceLogics().RemoveItem(logic)
    for each in (composite, node):
        scene.RemoveNode(each)


def view_picture(path, size=(480, 480)):
    """Draw all visible surfaces from the front to a PNG file."""
    scene = slicer.mrmlScene
    node = scene.CreateNodeByClass("vtkMRMLViewNode")
    node.UnRegister(None)
    node.SetLayoutName("1")
    node = scene.AddNode(node)
    window, renderer = _window(size)
    factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    group = _managers(factory, VIEW_MANAGERS, renderer, node)
    renderer.SetBackground(1, 1, 1)
    camera = renderer.GetActiveCamera()
    camera.SetViewUp(0, 0, 1)
    camera.SetPosition(0, 1, 0)  # from the front: A
    camera.SetFocalPoint(0, 0, 0)
    window.Render()
    renderer.ResetCamera()
    camera.Zoom(1.3)
    _write(window, path)
    group.SetMRMLDisplayableNode(None)
    scene.RemoveNode(node)


def _window(size):
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()  # the managers expect one
    interactor.SetRenderWindow(window)
    window._interactor = interactor
    return window, renderer


def _managers(factory, names, renderer, node):
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.Initialize(factory, renderer)
    group.SetMRMLDisplayableNode(node)
    return group


def _write(window, path):
    window.Render()
    image = vtk.vtkWindowToImageFilter()
    image.SetInput(window)
    image.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetInputConnection(image.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
